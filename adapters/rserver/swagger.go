package rserver

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"
)

// object is a JSON object of a description. Swagger 2.0: https://swagger.io/specification/v2/
type object = map[string]any

func ref(definition string) object { return object{"$ref": "#/definitions/" + definition} }

func property(kind, description string) object {
	return object{"type": kind, "description": description}
}

func arrayOf(items any) object { return object{"type": "array", "items": items} }

// schema is the JSON schema of a parameter's type, as strictly typed clients can use it: what is missing is null, and the
// elements of vectors and matrices are taken for numbers, for no schema of Swagger 2.0 says "any" to all generators.
func schema(t string) object {
	switch t {
	case typeNumeric:
		return object{"type": "number", "format": "double", "x-nullable": true}
	case typeInteger:
		return object{"type": "integer", "format": "int32", "x-nullable": true}
	case typeLogical:
		return object{"type": "boolean", "x-nullable": true}
	case typeCharacter, typeFactor:
		return object{"type": "string", "x-nullable": true}
	case typeDate:
		return object{"type": "string", "format": "date", "x-nullable": true}
	case typePOSIXct:
		return object{"type": "string", "format": "date-time", "x-nullable": true}
	case typeVector:
		return arrayOf(object{"type": "number", "x-nullable": true})
	case typeMatrix:
		return arrayOf(arrayOf(object{"type": "number", "x-nullable": true}))
	case typeDataFrame:
		return object{"type": "object"}
	}
	return object{}
}

func parameters(all []parameterDefinition, required bool) object {
	properties, names := object{}, []string{}
	for _, d := range all {
		s := schema(d.Type)
		s["description"] = d.Type
		properties[d.Name] = s
		names = append(names, d.Name)
	}
	o := object{"type": "object", "properties": properties}
	if required && len(names) > 0 { // an empty list is not allowed
		o["required"] = names
	}
	return o
}

// loginDefinitions are what every description has, so that a client can log in with it alone.
func loginDefinitions() object {
	text := object{"type": "string"}
	return object{
		"Error": object{"type": "object", "properties": object{
			"message": text, "link": text, "exceptionType": text,
		}},
		"LoginRequest": object{"type": "object", "required": []string{"username", "password"}, "properties": object{
			"username": property("string", "The name of the user."), "password": property("string", "The user's password."),
		}},
		"RenewTokenRequest": object{"type": "object", "required": []string{"refreshToken"}, "properties": object{
			"refreshToken": property("string", "A refresh token that was not used yet."),
		}},
		"AccessTokenResponse": object{"type": "object", "properties": object{
			"token_type": text, "access_token": text, "refresh_token": text,
			"expires_in": object{"type": "integer", "format": "int64"}, "expires_on": object{"type": "integer", "format": "int64"},
		}},
	}
}

func resultDefinitions(d object, inputs, outputs object) {
	d["InputParameters"], d["OutputParameters"] = inputs, outputs
	d["WebServiceResult"] = object{"type": "object", "properties": object{
		"success":          property("boolean", "Whether the code ended without an error."),
		"errorMessage":     property("string", "The error, if there was one."),
		"outputParameters": ref("OutputParameters"),
		"outputFiles":      object{"type": "object", "description": "Files in base64, by their names.", "additionalProperties": object{"type": "string"}},
		"consoleOutput":    property("string", "What the code has printed."),
		"changedFiles":     arrayOf(object{"type": "string"}),
	}}
	d["StartBatchExecutionResponse"] = object{"type": "object", "properties": object{"batchExecutionId": object{"type": "string"}}}
	d["BatchWebServiceResult"] = object{"type": "object", "properties": object{
		"state":                 object{"type": "string", "enum": []string{batchPending, batchInProgress, "ready", batchComplete}},
		"completedItemCount":    object{"type": "integer", "format": "int32"},
		"totalItemCount":        object{"type": "integer", "format": "int32"},
		"parallelCount":         object{"type": "integer", "format": "int32"},
		"batchExecutionResults": arrayOf(ref("WebServiceResult")),
	}}
}

// document is what all descriptions have in common.
func document(title, version, description, base, host string, paths, definitions object) object {
	return object{
		"swagger": "2.0", "info": object{"title": title, "version": version, "description": description},
		"host": host, "basePath": cmp.Or(base, "/"), "schemes": []string{"http", "https"},
		"consumes": []string{jsonType}, "produces": []string{jsonType}, "paths": paths, "definitions": definitions,
		"securityDefinitions": object{"Bearer": object{"type": "apiKey", "name": "Authorization", "in": "header",
			"description": "Bearer and the access token"}},
	}
}

const jsonType = "application/json"

// swagger describes one service. Code generators make a client of it.
func (x *service) swagger(base, host string) object {
	b := x.row.body
	definitions := loginDefinitions()
	resultDefinitions(definitions, parameters(b.Inputs, true), parameters(b.Outputs, false))
	paths := object{}
	own := strings.NewReplacer("{name}", url.PathEscape(x.row.name), "{version}", url.PathEscape(x.row.version))
	for _, o := range operations() {
		consumption := strings.HasPrefix(o.path, pathConsume)
		if !consumption && o.tag != tagLogin || o.id == "getWebServiceSwagger" || o.id == "revokeRefreshTokenByPath" {
			continue
		}
		if o.id == "consumeWebService" && b.OperationID != "" {
			o.id = b.OperationID
		}
		if consumption {
			o.tag = x.row.name
		}
		o.path = own.Replace(o.path)
		o.describe(paths)
	}
	d := document(x.row.name, x.row.version, b.Description, base, host, paths, definitions)
	d["tags"] = []object{{"name": x.row.name, "description": b.Description}}
	return d
}

// describe adds an operation to a description's paths.
func (o operation) describe(paths object) {
	responses := object{strconv.Itoa(o.status): o.success()}
	for _, status := range o.errors {
		responses[strconv.Itoa(status)] = object{"description": errorMeanings[status], "schema": ref("Error")}
	}
	responses["default"] = object{"description": "Another error", "schema": ref("Error")}
	operation := object{"operationId": o.id, "tags": []string{o.tag}, "summary": o.summary, "responses": responses}
	if list := o.parameters(operation); len(list) > 0 {
		operation["parameters"] = list
	}
	if o.tag != tagLogin {
		operation["security"] = []object{{"Bearer": []string{}}}
	}
	if o.returns == "file" {
		operation["produces"] = []string{octets}
	}
	path, _ := paths[o.path].(object)
	if path == nil {
		path = object{}
		paths[o.path] = path
	}
	path[strings.ToLower(o.method)] = operation
}

func (o operation) success() object {
	r := object{"description": "OK"}
	if o.returns != "" {
		r["schema"] = schemaOf(o.returns)
	}
	return r
}

// schemaOf reads what operation.returns and body say.
func schemaOf(text string) object {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		return arrayOf(schemaOf(strings.TrimSuffix(inner, "]")))
	}
	if text == "string" || text == "file" {
		return object{"type": text}
	}
	return ref(text)
}

func (o operation) parameters(operation object) (list []object) {
	for segment := range strings.SplitSeq(o.path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			kind := "string"
			if name == "index}" {
				kind = "integer"
			}
			list = append(list, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "type": kind})
		}
	}
	for _, q := range o.query {
		name, kind, typed := strings.Cut(q, ":")
		if !typed {
			kind = "string"
		}
		list = append(list, object{"name": name, "in": "query", "type": kind, "required": !typed})
	}
	switch o.body {
	case "":
	case "form":
		operation["consumes"] = []string{"multipart/form-data"}
		list = append(list, object{"name": "file", "in": "formData", "type": "file", "required": true})
	case "octets":
		operation["consumes"] = []string{octets}
		list = append(list, object{"name": "serializedObject", "in": "body", "required": true, "schema": object{"type": "string", "format": "binary"}})
	default:
		list = append(list, object{"name": "body", "in": "body", "required": true, "schema": schemaOf(o.body)})
	}
	return list
}

// errorMeanings are the API's own, for the statuses that its documents have.
var errorMeanings = map[int]string{
	400: "Bad Request: the request cannot be used, often because a parameter is missing",
	401: "Unauthorized: no valid credentials",
	402: "Request Failed: the request was right, and what it asked for failed",
	403: "Forbidden: another user owns it",
	404: "Not Found: it does not exist",
	409: "Conflict: it exists already",
	410: "Gone: the session was alive once, and has ended",
	429: "Too Many Requests: wait as long as Retry-After says",
	500: "Internal Server Error",
}

// description describes the whole API.
func description(base, host string) object {
	paths := object{}
	for _, o := range operations() {
		o.describe(paths)
	}
	return document("R Server", "9.0.1", "Sessions, snapshots and web services in R and Python.", base, host, paths, coreDefinitions())
}

func coreDefinitions() object {
	d := loginDefinitions()
	resultDefinitions(d, object{"type": "object"}, object{"type": "object"})
	text, whole := object{"type": "string"}, object{"type": "integer", "format": "int64"}
	runtime := object{"type": "string", "enum": []string{runtimeR.name, runtimePython.name}}
	define := func(name string, properties object) { d[name] = object{"type": "object", "properties": properties} }
	define("Session", object{"id": text, "name": text, "owner": text, "runtimeType": runtime})
	define("CreateSessionRequest", object{"name": text, "snapshotId": text, "runtimeType": runtime})
	define("CreateSessionResponse", object{"sessionId": text})
	define("Snapshot", object{"id": text, "name": text, "owner": text, "creationTime": text, "contentSize": whole, "runtimeType": runtime})
	define("CreateSnapshotRequest", object{"name": text})
	define("CreateSnapshotResponse", object{"snapshotId": text})
	define("WorkspaceObject", object{"name": text, "type": object{"type": "string", "enum": types}, "value": object{}})
	define("ExecuteRequest", object{"code": text, "inputParameters": arrayOf(ref("WorkspaceObject")), "outputParameters": arrayOf(text)})
	define("ExecuteResponse", object{"success": object{"type": "boolean"}, "errorMessage": text, "consoleOutput": text,
		"outputParameters": arrayOf(ref("WorkspaceObject")), "changedFiles": arrayOf(text)})
	define("ParameterDefinition", object{"name": text, "type": object{"type": "string", "enum": types}})
	published := func() object {
		return object{"snapshotId": text, "code": text, "initCode": text, "description": text, "operationId": text,
			"runtimeType": runtime, "outputFileNames": arrayOf(text), "version": text,
			"inputParameterDefinitions": arrayOf(ref("ParameterDefinition")), "outputParameterDefinitions": arrayOf(ref("ParameterDefinition"))}
	}
	define("PublishWebServiceRequest", published())
	service := published()
	for _, name := range []string{"name", "creationTime", "versionPublishedBy", "owner", "myPermissionOnService"} {
		service[name] = text
	}
	define("WebService", service)
	define("PoolSize", object{"InitialPoolSize": object{"type": "integer", "format": "int32"}, "MaxPoolSize": object{"type": "integer", "format": "int32"}})
	define("ConsoleOutputResponse", object{"consoleOutput": text})
	define("StatusResponse", object{"statusCode": object{"type": "string", "enum": []string{green, yellow, red}},
		"details": object{"type": "object"}, "components": object{"type": "object", "additionalProperties": ref("StatusResponse")}})
	define("SwaggerJsonResponse", object{})
	return d
}
