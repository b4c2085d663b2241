package registry

import "errors"

// The kinds of failure that a caller may act on. Everything else is wrapped around one of them, with what was being
// done to what; fs turns them into errno and cmd into exit codes, each by one table.
var (
	ErrNotExist    = errors.New("no such name")
	ErrExist       = errors.New("already exists")
	ErrNotEmpty    = errors.New("not empty")
	ErrConflict    = errors.New("somebody else published first")
	ErrInvalid     = errors.New("invalid")
	ErrTooLarge    = errors.New("too large")
	ErrUnreachable = errors.New("unreachable")
	ErrTimeout     = errors.New("timed out")
	ErrUnknown     = errors.New("outcome unknown")
	ErrPermission  = errors.New("permission denied")
	ErrReadOnly    = errors.New("read only")
	ErrQuota       = errors.New("too many versions a minute")
	ErrChecksum    = errors.New("checksum does not match")
)
