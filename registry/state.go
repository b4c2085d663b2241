package registry

import (
	"crypto/sha256"
	"time"
)

// Order places the states of one node in the order in which the registry took them. It never goes back for a node, and is
// compared only between states of the same node: mzxid of a config's pointer, pzxid of a serverset's or dependency's
// parent, the sequence of the embedded registry.
type Order int64

// State is what the registry says about a pointer at one moment.
type State struct {
	Exists  bool
	Version Version // empty: created, never written
	Order   Order
}

// Membership is who serves a serverset at one moment.
type Membership struct {
	Exists  bool // the serverset's node exists
	Members []Member
	Order   Order
}

// Member is one registration in a serverset.
type Member struct {
	Node     string            // the name of its node, unique in the serverset: 32 hex digits, -, endpoint
	Endpoint Endpoint          // host:port, what the serverset file shows
	Weight   int               // relative share of the calls; 0 means unsaid
	Labels   map[string]string // what the registrar said of itself
	Since    time.Time         // when it joined
}

// Edges are the members of a dependency at one moment, sorted.
type Edges struct {
	Exists  bool
	Members []Edge
	Order   Order
}

// Body is one published version: its bytes, and what is stored beside them.
type Body struct {
	Data []byte
	Meta Meta
}

// Meta is stored with a body, where readers of the old system do not see it. A body that the old system wrote has none.
type Meta struct {
	SHA256    Checksum  // of Data; zero if the writer stored none
	Author    string    // user@host
	Message   string    // why, in the author's words
	Published time.Time // by the publisher's clock
	Replaces  Version   // what was current when it was put; empty: nothing was, or nobody said
}

// Stored is a body as the store of bodies lists it, without its bytes.
type Stored struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // when the store took it; zero: it does not say
	Meta     Meta      // zero in a listing, if the store would have to be asked for that of each
}

// Checksum is the SHA-256 of a body. The zero value means unknown.
type Checksum [sha256.Size]byte

// Sum is the checksum of data.
func Sum(data []byte) Checksum { return sha256.Sum256(data) }
