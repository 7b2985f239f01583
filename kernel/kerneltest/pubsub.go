package kerneltest

func (s *socket) publishes() bool { return s.kind == "PUB" || s.kind == "XPUB" }

// command obeys ZMTP 3.1's commands; unknown ones are ignored.
func (s *socket) command(p *peer, body []byte) {
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return
	}
	name, data := string(body[1:1+body[0]]), body[1+body[0]:]
	switch {
	case name == "SUBSCRIBE" && s.publishes():
		s.subscription(p, append([]byte{1}, data...))
	case name == "CANCEL" && s.publishes():
		s.subscription(p, append([]byte{0}, data...))
	case name == "PING" && len(data) >= 2:
		// PONG carries the context that follows PING's time to live.
		pong := append([]byte("\x04PONG"), data[2:]...)
		p.out.pushRaw(append(appendFrameHeader(nil, flagCommand, len(pong)), pong...))
	}
}

// subscription reads ZMTP 3.0's form: 1 or 0, and the topic.
func (s *socket) subscription(p *peer, frame []byte) {
	if len(frame) == 0 {
		return
	}
	topic := frame[1:]
	switch frame[0] {
	case 1:
		if s.subscribe(p, string(topic)) && s.subscribed != nil {
			s.subscribed(topic)
		}
	case 0:
		s.unsubscribe(p, string(topic))
	}
}

// subscribe reports whether nobody was subscribed to topic before.
func (s *socket) subscribe(p *peer, topic string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.peers[p]; !ok {
		return false // it was cut while we read its frame
	}
	if p.topics[topic]++; p.topics[topic] > 1 {
		return false
	}
	s.topics[topic]++
	return s.topics[topic] == 1
}

func (s *socket) unsubscribe(p *peer, topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.topics[topic] == 0 {
		return
	}
	if p.topics[topic]--; p.topics[topic] == 0 {
		delete(p.topics, topic)
		s.forget(topic)
	}
}

// publish sends a message to every peer that subscribed to a prefix of its first frame.
func (s *socket) publish(frames [][]byte) {
	s.pubMu.Lock()
	defer s.pubMu.Unlock()
	for _, p := range s.subscribers(frames[0]) {
		p.out.push(frames)
	}
}

// subscribers is valid until pubMu is released.
func (s *socket) subscribers(first []byte) []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = s.targets[:0]
	for p := range s.peers {
		for topic := range p.topics {
			if len(first) >= len(topic) && string(first[:len(topic)]) == topic {
				s.targets = append(s.targets, p)
				break
			}
		}
	}
	return s.targets
}
