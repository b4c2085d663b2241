package fs

import (
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Past is one version of a config that was published some time, the current one included: a file of .history/NAME.
type Past struct {
	Version   registry.Version
	Published time.Time         // when its publisher said so, or else when its body was stored; zero: nobody knows
	Author    string            // user@host; "": not said, or not asked for in a listing
	Message   string            // why, in the author's words; likewise
	Size      int64             // bytes of the body
	SHA256    registry.Checksum // of the body; likewise
	Replaces  registry.Version  // what was current before; likewise
}
