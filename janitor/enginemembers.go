// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// EngineMemberRule says what happens to members and headers of requests that
// steer an engine from inside.
type EngineMemberRule struct {
	// `strip` takes them out of the request, `refuse` answers with status 400 that
	// names the first one found, and `pass` lets them through.
	Mode string `json:"mode"`

	// The members and headers that the rule is for, and `management`: the paths by
	// which operators manage engines, and requests without a body that are not
	// known to be harmless. These are refused unless a rule that names `management`
	// says `pass`. Default: all but `management`.
	Names []string `json:"names,omitempty"`
}

// membersMode is the mode of a rule.
type membersMode uint8

const (
	membersStrip membersMode = iota
	membersRefuse
	membersPass
)

var membersModes = [...]string{"strip", "refuse", "pass"}

// management is the name of a rule for paths, not for a member or a header.
const management = "management"

// steeringHeaders are the headers by which routers steer engines, in canonical
// form, with their names in the option.
var steeringHeaders = map[string]string{
	// vLLM: the replica, and the place in the queue, which overrides the body's.
	"X-Data-Parallel-Rank": "x-data-parallel-rank", // also SGLang
	"X-Vllm-Priority":      "x-vllm-priority",
	// llm-d's sidecar beside an engine: the hosts that it calls, or where the
	// engine loads blocks from.
	"X-Prefiller-Host-Port":             "x-prefiller-host-port",
	"X-Prefiller-Url":                   "x-prefiller-url",
	"X-Encoder-Hosts-Ports":             "x-encoder-hosts-ports",
	"X-Kv-Cache-Source-Host-Port":       "x-kv-cache-source-host-port",
	"X-Data-Parallel-Host-Port":         "x-data-parallel-host-port",
	"X-Llm-D-Prefiller-Host-Port":       "x-prefiller-host-port",
	"X-Llm-D-Encoder-Hosts-Ports":       "x-encoder-hosts-ports",
	"X-Llm-D-Kv-Cache-Source-Host-Port": "x-kv-cache-source-host-port",
}

// SGLang's headers with this prefix replace members of the body.
const (
	overridePrefix = "X-Override-"
	overrideName   = "x-override-*"
)

// requestIDHeader is taken only if it holds the addresses of engines. It has the
// name of the body's member, because vLLM reads both alike.
const (
	requestIDHeader = "X-Request-Id"
	requestIDName   = "request_id"
)

// steering holds the modes of all members, headers and paths that steer an engine.
type steering struct {
	take       prompt.EngineMembers   // to find in bodies: all that do not pass
	refuse     prompt.EngineMembers   // those of them that are refused
	headers    map[string]membersMode // by name in the option
	management membersMode            // pass, or else refused
}

// engineMemberNames returns the names that a rule may have, sorted.
func engineMemberNames() []string {
	names := []string{management, overrideName}
	for m := range prompt.NumEngineMembers {
		names = append(names, m.String())
	}
	for _, name := range steeringHeaders {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// newSteering applies the rules in their order. It skips what checkEngineMembers
// refuses.
func newSteering(rules []EngineMemberRule) steering {
	s := steering{take: prompt.AllEngineMembers, headers: make(map[string]membersMode)}
	all := engineMemberNames()
	for _, rule := range rules {
		mode := slices.Index(membersModes[:], rule.Mode)
		if mode < 0 {
			continue
		}
		names := rule.Names
		if len(names) == 0 {
			names = all
		}
		for _, name := range names {
			if name != management || len(rule.Names) > 0 {
				s.set(name, membersMode(mode))
			}
		}
	}
	return s
}

func (s *steering) set(name string, mode membersMode) {
	if name == management {
		s.management = mode
	}
	s.headers[name] = mode // names of members are no names of headers, but for request_id
	for m := range prompt.NumEngineMembers {
		if m.String() != name {
			continue
		}
		s.take, s.refuse = s.take.With(m), s.refuse.Without(m)
		switch mode {
		case membersPass:
			s.take = s.take.Without(m)
		case membersRefuse:
			s.refuse = s.refuse.With(m)
		}
	}
}

func checkMembersMode(mode string) error {
	if !slices.Contains(membersModes[:], mode) {
		return invalid("engine_members", mode)
	}
	return nil
}

func checkEngineMembers(rule EngineMemberRule) error {
	if err := checkMembersMode(rule.Mode); err != nil {
		return err
	}
	known := engineMemberNames()
	for _, name := range rule.Names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("engine_members: unknown name %q: must be one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// headerName returns the name in the option of a header that steers an engine, ""
// for any other.
func headerName(header string, values []string) string {
	if name, ok := steeringHeaders[header]; ok {
		return name
	}
	switch {
	case strings.HasPrefix(header, overridePrefix):
		return overrideName
	case header == requestIDHeader && slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, prompt.AddressMark) }):
		return requestIDName
	}
	return ""
}

// steerHead refuses a request that manages an engine, and treats the headers that
// steer one.
func (h *Handler) steerHead(r *http.Request) *refusal {
	if h.steering.management != membersPass && isManagement(r.Method, r.URL.Path) {
		return refuseManagement
	}
	for header, values := range r.Header {
		if len(header) < 2 || header[0] != 'X' || header[1] != '-' {
			continue
		}
		name := headerName(header, values)
		if name == "" {
			continue
		}
		switch h.steering.headers[name] {
		case membersPass:
			continue
		case membersRefuse:
			return h.refuseMember(name)
		}
		h.countMember(name, membersStrip)
		delete(r.Header, header)
	}
	return nil
}

// steerBody refuses a parsed body with an engine member whose mode is refuse. The
// others that it has are counted, and are not in the body that is forwarded.
func (h *Handler) steerBody(d *prompt.Document) *refusal {
	for _, taken := range d.Taken {
		if h.steering.refuse.Has(taken.Member) {
			return h.refuseMember(taken.Member.String())
		}
	}
	for _, taken := range d.Taken {
		h.countMember(taken.Member.String(), membersStrip)
	}
	return nil
}

// refuseMember returns the refusal for a member or header with this name in the
// option.
func (h *Handler) refuseMember(name string) *refusal {
	h.countMember(name, membersRefuse)
	return &refusal{status: http.StatusBadRequest, reason: "engine_member", param: name,
		message: "this gateway does not accept '" + name + "', which steers an engine from inside"}
}

func (h *Handler) countMember(name string, mode membersMode) {
	engineMembersTotal.WithLabelValues(name, membersModes[mode]).Inc()
	if c := h.logger.Check(zapcore.DebugLevel, "a request steers an engine"); c != nil {
		c.Write(zap.String("member", name), zap.String("action", membersModes[mode]))
	}
}

// removals returns the edits that take the engine members out of the body.
func removals(d *prompt.Document) []prompt.Edit {
	if len(d.Taken) == 0 {
		return nil
	}
	edits := make([]prompt.Edit, len(d.Taken))
	for i, taken := range d.Taken {
		edits[i] = prompt.Edit{Start: taken.Start, End: taken.End}
	}
	return edits
}
