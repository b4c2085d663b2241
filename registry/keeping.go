package registry

// Keeping is one registration that lasts: what a registry is to keep in a serverset, until it is told otherwise.
type Keeping struct {
	// Wanted yields what the member is to say: once to begin with, and again whenever that has changed. The one before makes room in
	// the same step, so that readers see either. An empty Node gets a fresh one; a change should always have one.
	Wanted <-chan Member

	// Former is the node of this registration in an earlier life of the process, whose session may live on; "": there was none. It
	// makes room for the first as that does for the second.
	Former string

	// Told is called, one call after the other, when the member is in the serverset, with its node, and when it is not any more or
	// cannot be yet, and why. It must not block. nil: nobody wants to know.
	Told func(node string, err error)
}

// Tell calls Told, if there is one.
func (k Keeping) Tell(node string, err error) {
	if k.Told != nil {
		k.Told(node, err)
	}
}

// Once is the Keeping of a member that never says anything else.
func Once(m Member) Keeping {
	wanted := make(chan Member, 1)
	wanted <- m
	return Keeping{Wanted: wanted}
}
