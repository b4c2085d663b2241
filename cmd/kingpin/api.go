package main

import (
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The types of this file are an interface: what the files of MOUNT/.status hold, what the control socket answers and what
// --output json prints. Keys are lower case, times RFC 3339 and left out when there is none, durations seconds as numbers,
// sizes bytes. A key may be added; none is ever renamed, removed or given another type.

// monitorStatus is .status/monitor.json and GET /v1/monitor.
type monitorStatus struct {
	Version       string    `json:"version"` // of the running binary
	PID           int       `json:"pid"`     // of the server
	Started       time.Time `json:"started"` // the server
	Uptime        float64   `json:"uptime"`
	Restarts      int       `json:"restarts"`   // of the server, by its keeper
	LastDeath     string    `json:"last_death"` // how the last of them died
	Ready         bool      `json:"ready"`      // every name that this machine follows was looked at, and its last good version is served
	Reason        string    `json:"reason"`     // why it is not ready
	Writable      bool      `json:"writable"`   // a write would be tried now
	WriteError    string    `json:"write_error"`
	Mount         string    `json:"mount"`          // empty with --no-mount
	State         string    `json:"state"`          // the state directory
	Files         string    `json:"files"`          // the plain tree in it, readable with the monitor dead
	Control       string    `json:"control"`        // the control socket
	Admin         string    `json:"admin"`          // where it answers over HTTP; empty: nowhere
	Metrics       string    `json:"metrics"`        // the same for other machines
	Registry      string    `json:"registry"`       // embedded or zookeeper
	Source        string    `json:"source"`         // the file of the registry, or the hosts of its ensemble
	Connected     bool      `json:"connected"`      // to the registry; what is served is served without it too
	Since         time.Time `json:"since,omitzero"` // it is so
	Server        string    `json:"server"`         // of the ensemble, to which it is
	Trouble       string    `json:"trouble"`        // why it is not, or why updates are not applied
	Frozen        bool      `json:"frozen"`         // updates are not applied before kingpin accept --ensemble
	S3            s3Status  `json:"s3"`             // the bodies; empty if the registry holds them too
	Dependencies  []string  `json:"dependencies"`   // the roots of what this machine follows
	ReadOnly      bool      `json:"read_only"`
	PublishGroup  string    `json:"publish_group"` // empty: root alone publishes
	CreateByWrite bool      `json:"create_by_write"`
	MaxBody       int64     `json:"max_body"`
	Names         int       `json:"names"`        // configs and serversets followed
	Current       int       `json:"current"`      // of them: what is published is what is here
	Stale         int       `json:"stale"`        // an older version is served meanwhile
	Held          int       `json:"held"`         // a version was not believed; the last good one is served
	Deleted       []string  `json:"deleted"`      // dependencies whose node is gone from the registry; their members stay
	Pending       int       `json:"pending"`      // no version was ever here, and one is awaited
	Missing       int       `json:"missing"`      // a dependency holds it, but there is no such name
	Registered    int       `json:"registered"`   // endpoints that are held here, and in their serverset
	Unregistered  int       `json:"unregistered"` // those that are pending or refused
}

// s3Status is how the bucket of a fleet is.
type s3Status struct {
	Bucket    string    `json:"bucket"`
	Endpoint  string    `json:"endpoint"`  // empty: AWS
	Reachable bool      `json:"reachable"` // as far as was noticed: it is asked when there is something to fetch or to publish
	Trouble   string    `json:"trouble"`
	Since     time.Time `json:"since,omitzero"` // of the trouble
	Skew      float64   `json:"skew"`           // how far its clock is ahead of this machine's, to the second
}

// nameStatus is a member of .status/names.json and of GET /v1/names, and what kingpin stat prints.
type nameStatus struct {
	Name         string    `json:"name"`
	Kind         string    `json:"kind"`   // config, serverset or decider
	State        string    `json:"state"`  // current, stale, held, pending or missing, as above; unknown when there is nobody to ask
	Reason       string    `json:"reason"` // why it is not current
	Cause        string    `json:"cause"`  // in one word, why it is held: empty, shrunk, deleted, checksum, too_large, anew or ensemble
	Version      string    `json:"version"`
	Author       string    `json:"author"`
	Message      string    `json:"message"`
	Published    time.Time `json:"published,omitzero"`
	Age          float64   `json:"age"` // since the version is current here
	Size         int64     `json:"size"`
	SHA256       string    `json:"sha256"`
	Dependencies []string  `json:"dependencies"` // followed here, that hold the name themselves
	Path         string    `json:"path"`         // of its file
}

// listedName is a member of kingpin ls and of GET /v1/registry/names.
type listedName struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Followed bool   `json:"followed"` // by this machine
}

// knownName is GET /v1/registry/names/NAME: what the whole registry knows of one name.
type knownName struct {
	listedName
	Exists       bool     `json:"exists"`
	Dependencies []string `json:"dependencies"` // all in the registry that hold the name themselves
	Nearest      string   `json:"nearest"`      // if it does not exist: the name that was probably meant
}

// dependencyStatus is a member of GET /v1/dependencies, and what kingpin dep ls prints.
type dependencyStatus struct {
	Name     string   `json:"name"`
	Members  []string `json:"members"`
	Followed bool     `json:"followed"`
}

// publishRecord is a member of .status/publishes.json: the last publishes from this machine, newest first.
type publishRecord struct {
	Name    string    `json:"name"`
	Decider string    `json:"decider,omitempty"` // the one that was changed, if that was all
	Time    time.Time `json:"time"`
	Took    float64   `json:"took"`
	Result  string    `json:"result"` // ok, or the kind of an apiError
	Error   string    `json:"error"`
	Version string    `json:"version"`
	Author  string    `json:"author"`
	Message string    `json:"message"`
	Size    int64     `json:"size"`
}

// createRequest is the body of POST /v1/names.
type createRequest struct {
	Name         string   `json:"name"`
	Dependencies []string `json:"dependencies"` // none: the first of this machine
	Body         []byte   `json:"body"`         // base64; null: created, not written
}

// created answers POST /v1/names, and is what kingpin create prints.
type created struct {
	Name         string   `json:"name"`
	Kind         string   `json:"kind"`
	Dependencies []string `json:"dependencies"`
	Followed     bool     `json:"followed"` // by this machine, through one of them
}

// published answers PUT /v1/names/NAME, and is what kingpin put prints.
type published struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Changed bool   `json:"changed"` // false: these bytes were current already
}

// versionList is GET /v1/names/NAME/versions.
type versionList struct {
	Versions   []pastVersion `json:"versions"`   // newest first
	Incomplete string        `json:"incomplete"` // why there may be more: those not on this machine could not be listed
}

// pastVersion is a version that was current some time, and a member of what kingpin history prints.
type pastVersion struct {
	Version   string    `json:"version"`
	Published time.Time `json:"published,omitzero"`
	Author    string    `json:"author"`
	Message   string    `json:"message"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"`   // empty: nobody said
	Replaces  string    `json:"replaces"` // what was current before; empty: nothing, or nobody said
	Current   bool      `json:"current"`
}

// rolledBack is what kingpin rollback prints.
type rolledBack struct {
	published
	From string `json:"from"` // the version that was current
	To   string `json:"to"`   // that whose bytes are current now
}

// differs is what kingpin diff prints.
type differs struct {
	Name    string `json:"name"`
	From    string `json:"from"` // versions
	To      string `json:"to"`
	Changed bool   `json:"changed"`
	Diff    string `json:"diff"`
}

// memberRequest is the body of POST and DELETE /v1/dependencies/DEP/members.
type memberRequest struct {
	Members []string `json:"members"`
}

// apiError is the body of every answer that is no success.
type apiError struct {
	Kind    string   `json:"kind"` // a word of the table of failures, or failed
	Message string   `json:"message"`
	Hints   []string `json:"hints"` // what to do, a line each
}

// names as strings, never nil: a list that is empty is [] in JSON.
func texts[S ~string](list []S) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

// kindOf a word that may be a name or a dependency.
func kindOf(edge registry.Edge) string {
	if name, ok := edge.Name(); ok {
		return name.Kind().String()
	}
	return "dependency"
}

// registrationStatus is what .status/registrations.json says of one endpoint that is held here.
type registrationStatus struct {
	Serverset string            `json:"serverset"`
	Endpoint  string            `json:"endpoint"`
	State     string            `json:"state"`  // registered, pending or refused
	Reason    string            `json:"reason"` // why it is not registered
	Since     time.Time         `json:"since"`  // it is in this state
	Node      string            `json:"node"`   // of the member; empty unless registered
	Holders   int               `json:"holders"`
	Weight    int               `json:"weight"`
	Labels    map[string]string `json:"labels,omitempty"`
}
