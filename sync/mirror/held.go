package mirror

// Why a config is Held, beside what the guard has for serversets.
const (
	Checksum HoldReason = "checksum"  // the body is not what was published
	TooLarge HoldReason = "too_large" // larger than this machine takes
	Anew     HoldReason = "anew"      // its node was deleted and made again, and was not written since
	WentBack HoldReason = "ensemble"  // the registry is older than what is here
)

// held is the error of a name whose last good version stays, though the registry says something else.
type held struct {
	cause  HoldReason
	reason string // in words
	again  bool   // the reason may pass by itself
}

func (h held) Error() string { return h.reason }
