package rserver

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// serviceKey is what a service is called by.
type serviceKey struct{ name, version string }

// serviceBody is what was published.
type serviceBody struct {
	SnapshotID      string                `json:"snapshotId"`
	Runtime         string                `json:"runtimeType"`
	Code            string                `json:"code"`
	InitCode        string                `json:"initCode"`
	Description     string                `json:"description"`
	OperationID     string                `json:"operationId"`
	Inputs          []parameterDefinition `json:"inputs"`
	Outputs         []parameterDefinition `json:"outputs"`
	OutputFileNames []string              `json:"outputFileNames"`
}

// service is a published service as it is between two changes: a patch makes another one.
type service struct {
	// immutable
	srv     *Server
	row     serviceRow
	runtime *runtime
	pool    *workerPool
}

func (s *Server) newService(row serviceRow) (*service, error) {
	r, err := parseRuntime(row.body.Runtime)
	if err != nil {
		return nil, err
	}
	x := &service{srv: s, row: row, runtime: r}
	x.pool = newWorkerPool(x)
	return x, nil
}

func (x *service) key() serviceKey { return serviceKey{x.row.name, x.row.version} }

func (s *Server) loadServices(ctx context.Context) error {
	all, err := s.rows.services(ctx)
	if err != nil {
		return err
	}
	for _, row := range all {
		x, err := s.newService(row)
		if err != nil {
			return err
		}
		s.services[x.key()] = x
	}
	return nil
}

const maxServiceName = 128 // characters

// checkServiceName says whether a name or version can stand in a path.
func checkServiceName(field, name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || unicode.IsControl(r) })
	if bad || name == "" || name == "." || name == ".." || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxServiceName {
		return fault.New(fault.Invalid, "the service's %s should have 1 to %d characters, no slash and no control character", field, maxServiceName)
	}
	return nil
}

// apply changes b by what a request says, and checks the result.
func (b *serviceBody) apply(req publishRequest) error {
	for to, from := range map[*string]*string{
		&b.SnapshotID: req.SnapshotID, &b.Code: req.Code, &b.InitCode: req.InitCode, &b.Description: req.Description,
		&b.OperationID: req.OperationID, &b.Runtime: req.RuntimeType,
	} {
		if from != nil {
			*to = *from
		}
	}
	if req.InputParameterDefinitions != nil {
		b.Inputs = *req.InputParameterDefinitions
	}
	if req.OutputParameterDefinitions != nil {
		b.Outputs = *req.OutputParameterDefinitions
	}
	if req.OutputFileNames != nil {
		b.OutputFileNames = *req.OutputFileNames
	}
	if b.Code == "" {
		return fault.New(fault.Invalid, `field "code" is missing: a service runs code`)
	}
	r, err := parseRuntime(b.Runtime)
	if err != nil {
		return err
	}
	b.Runtime = r.name
	if b.Inputs, err = checkDefinitions("inputParameterDefinitions", b.Inputs); err != nil {
		return err
	}
	if b.Outputs, err = checkDefinitions("outputParameterDefinitions", b.Outputs); err != nil {
		return err
	}
	for _, name := range b.OutputFileNames {
		if err := checkFileName(name); err != nil {
			return fault.New(fault.Invalid, `field "outputFileNames": %.100q is no file in the working folder`, name)
		}
	}
	b.OutputFileNames = append([]string{}, b.OutputFileNames...)
	return nil
}

const maxParameters = 1000

// checkDefinitions gives the definitions with their types as this package spells them, never nil.
func checkDefinitions(field string, all []parameterDefinition) ([]parameterDefinition, error) {
	if len(all) > maxParameters {
		return nil, fault.New(fault.Invalid, "field %q has more than %d parameters", field, maxParameters)
	}
	out := make([]parameterDefinition, 0, len(all))
	var names []string
	for _, d := range all {
		if err := checkName("field \""+field+"\": \"name\"", d.Name); err != nil {
			return nil, err
		}
		t, ok := parseType(d.Type)
		if !ok {
			return nil, fault.New(fault.Invalid, "field %q: parameter %.100q has the type %.100q, which is none of %s",
				field, d.Name, d.Type, strings.Join(types, ", "))
		}
		out = append(out, parameterDefinition{d.Name, t})
		names = append(names, d.Name)
	}
	if duplicates(names) {
		return nil, fault.New(fault.Invalid, "field %q names a parameter twice", field)
	}
	return out, nil
}

// publish makes a service; without a version it gets a GUID for one. A name that another owner has is Forbidden, a version
// that exists Conflict.
func (s *Server) publish(ctx context.Context, owner, name, version string, req publishRequest) (serviceKey, error) {
	key := serviceKey{name, version}
	row := serviceRow{name: name, owner: owner, created: time.Now().UTC().Truncate(time.Microsecond), pool: poolSize{-1, -1}}
	if key.version == "" && req.Version != nil {
		key.version = *req.Version
	}
	if key.version == "" {
		key.version, row.unlisted = uuid.NewString(), true
	}
	row.version = key.version
	if err := errors.Join(checkServiceName("name", name), checkServiceName("version", key.version)); err != nil {
		return key, err
	}
	if err := row.body.apply(req); err != nil {
		return key, err
	}
	if err := s.mayPublish(owner, key); err != nil {
		return key, err
	}
	if err := s.takeSnapshot(ctx, &row, row.body.SnapshotID); err != nil {
		return key, err
	}
	ctx = context.WithoutCancel(ctx)
	x, err := s.newService(row)
	if err == nil {
		err = s.rows.addService(ctx, row)
	}
	if err != nil {
		s.dropFile(row)
		if fault.KindOf(err) == fault.Conflict { // somebody was faster
			err = s.mayPublish(owner, key)
			err = cmp.Or(err, alreadyThere(key))
		}
		return key, err
	}
	s.mu.Lock()
	s.services[key] = x
	s.mu.Unlock()
	s.log.Info("service published", "service", name, "version", key.version)
	x.pool.fill()
	return key, nil
}

func alreadyThere(key serviceKey) error {
	return fault.New(fault.Conflict, "service %s, version %s, exists already: PATCH changes it", key.name, key.version)
}

// mayPublish says Forbidden of a name that another owner has, Conflict of what exists.
func (s *Server) mayPublish(owner string, key serviceKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, x := range s.services {
		if k.name == key.name && x.row.owner != owner {
			return fault.New(fault.Forbidden, "another user owns service %s", key.name)
		}
	}
	if s.services[key] != nil {
		return alreadyThere(key)
	}
	return nil
}

// takeSnapshot gives a service its own copy of a snapshot: clients delete theirs at once.
func (s *Server) takeSnapshot(ctx context.Context, row *serviceRow, id string) error {
	row.file, row.packages = "", nil
	if id == "" {
		return nil
	}
	snap, err := s.snapshot(ctx, row.owner, id)
	if fault.KindOf(err) == fault.NotFound && err != nil {
		return fault.New(fault.Invalid, `field "snapshotId": the snapshot does not exist`)
	}
	if err != nil {
		return err
	}
	if snap.runtime != row.body.Runtime {
		return fault.New(fault.Invalid, `field "snapshotId": the snapshot is of %s, the service of %s`, snap.runtime, row.body.Runtime)
	}
	row.file, row.packages = uuid.NewString(), snap.packages
	return copyFile(s.snapshotPath(id), s.servicePath(row.file))
}

// dropFile removes a service's own copy.
func (s *Server) dropFile(row serviceRow) {
	if row.file == "" {
		return
	}
	if err := os.Remove(s.servicePath(row.file)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("a service's snapshot was not removed", "service", row.name, "err", err)
	}
}

// service finds a service, whoever asks.
func (s *Server) service(key serviceKey) (*service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.services[key]; x != nil {
		return x, nil
	}
	return nil, fault.New(fault.NotFound, "there is no service %.200s, version %.200s", key.name, key.version)
}

// ownService finds a service of owner's; another's may be seen, so that it is Forbidden and not unknown.
func (s *Server) ownService(owner string, key serviceKey, verb string) (*service, error) {
	x, err := s.service(key)
	if err == nil && x.row.owner != owner {
		err = fault.New(fault.Forbidden, "another user owns service %s, version %s: only the owner can %s it", key.name, key.version, verb)
	}
	return x, err
}

// patch changes a service. Calls that are under way end as they began.
func (s *Server) patch(ctx context.Context, owner string, key serviceKey, req publishRequest) error {
	old, err := s.ownService(owner, key, "update")
	if err != nil {
		return err
	}
	row := old.row
	if err := row.body.apply(req); err != nil {
		return err
	}
	if req.SnapshotID != nil {
		if err := s.takeSnapshot(ctx, &row, *req.SnapshotID); err != nil {
			return err
		}
	} else if row.file != "" && row.body.Runtime != old.row.body.Runtime {
		return fault.New(fault.Invalid, `field "runtimeType": the service's snapshot is of %s`, old.row.body.Runtime)
	}
	next, err := s.newService(row)
	if err == nil {
		err = s.replace(context.WithoutCancel(ctx), old, next)
	}
	if err != nil {
		if row.file != old.row.file {
			s.dropFile(row)
		}
		return err
	}
	if row.file != old.row.file {
		s.dropFile(old.row)
	}
	s.log.Info("service changed", "service", key.name, "version", key.version)
	next.pool.fill()
	return nil
}

// replace puts next in old's place, unless somebody else was faster.
func (s *Server) replace(ctx context.Context, old, next *service) error {
	s.mu.Lock()
	current := s.services[old.key()] == old
	if current {
		s.services[old.key()] = next
	}
	s.mu.Unlock()
	if !current {
		return fault.New(fault.Conflict, "the service is being changed by another request")
	}
	if err := s.rows.changeService(ctx, next.row); err != nil {
		s.mu.Lock()
		s.services[old.key()] = old
		s.mu.Unlock()
		return err
	}
	old.pool.close()
	return nil
}

// unpublish deletes a service with its batches.
func (s *Server) unpublish(ctx context.Context, owner string, key serviceKey) error {
	x, err := s.ownService(owner, key, "delete")
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.rows.dropService(ctx, key.name, key.version); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.services, key)
	s.mu.Unlock()
	x.pool.close()
	s.dropFile(x.row)
	s.forgetBatches(key)
	s.log.Info("service deleted", "service", key.name, "version", key.version)
	return nil
}

// listServices gives the services of a name, or all, as owner may see them: oldest first. Versions that were made up
// are for their author's eyes.
func (s *Server) listServices(owner, name string) []serviceModel {
	s.mu.Lock()
	var found []*service
	for _, x := range s.services {
		if (name == "" || x.row.name == name) && (!x.row.unlisted || x.row.owner == owner) {
			found = append(found, x)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b *service) int {
		return cmp.Or(a.row.created.Compare(b.row.created), cmp.Compare(a.row.name, b.row.name), cmp.Compare(a.row.version, b.row.version))
	})
	models := make([]serviceModel, len(found))
	for i, x := range found {
		models[i] = x.model(owner)
	}
	return models
}

func (x *service) model(owner string) serviceModel {
	b, permission := x.row.body, permissionRead
	if x.row.owner == owner {
		permission = permissionWrite
	}
	return serviceModel{
		CreationTime: x.row.created.Format(timeFormat), Name: x.row.name, Version: x.row.version,
		VersionPublishedBy: x.row.owner, Owner: x.row.owner, RuntimeType: b.Runtime, SnapshotID: text(b.SnapshotID),
		InitCode: text(b.InitCode), Code: b.Code, Description: text(b.Description), OperationID: text(b.OperationID),
		InputParameterDefinitions: b.Inputs, OutputParameterDefinitions: b.Outputs, OutputFileNames: b.OutputFileNames,
		MyPermissionOnService: permission,
	}
}
