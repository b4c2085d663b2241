package fs

import "context"

// Registration is this machine's hold of a place in a serverset, for as long as somebody keeps a file of .register open. It is made
// without waiting for anybody: a service must start on the worst day too.
type Registration interface {
	// Set says what else the members file is to tell: JSON of the form {"weight": 2, "labels": {"zone": "a"}}. ErrInvalid if it is not.
	Set(data []byte) error
	// Wait returns once the registry has the registration and this machine shows it, or why it never will.
	Wait(ctx context.Context) error
	// Close leaves. It does not wait for the registry.
	Close()
}
