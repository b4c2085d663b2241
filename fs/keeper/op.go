package keeper

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpKind is what an Op does.
type OpKind uint8

// The kinds of Op. The first three are notifications to the kernel, which answers ENOENT when it knows no such entry or
// inode: a normal result. The others are system calls on the mount; they come back to the server as requests of the
// thread Poker.Thread names, and make inotify events.
const (
	InvalidateEntry OpKind = iota + 1 // forget the entry Name of directory Parent
	InvalidateInode                   // forget attributes and pages of Node; ENOENT: nobody holds that inode
	DeleteEntry                       // forget the entry Name of Parent, which was Node, and tell its watchers
	Touch                             // open Path for writing, set its mtime to now, close: IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE
	MakeFile                          // create Path and close it: IN_CREATE
	RemoveFile                        // unlink Path: IN_DELETE
	MakeDir                           // mkdir Path
	RemoveDir                         // rmdir Path
	MakeLink                          // symlink at Path, whose target is Name
	Rename                            // rename Path to Name, absolute too: IN_MOVED_FROM, IN_MOVED_TO
	Modify                            // set the mtime of Path to now: IN_MODIFY alone
)

// Op is one thing for the poker to do. Path is absolute.
type Op struct {
	Kind         OpKind
	Parent, Node uint64
	Name, Path   string
}

// What server and poker say to each other, little endian, the first byte being the kind:
//
//	'w' thread:4              server: you are the poker I know of; a poker answers nothing before it heard its own thread
//	'd' id:8 op...            server: do these in order
//	    op = kind:1 parent:8 node:8 len(name):2 len(path):2 name path
//	'q'                       keeper, in the server's place: end, another poker comes
//	'a' id:8 errno:2...       poker: done, one result an op
//
// The upper half of an id is the server's incarnation, so that a server ignores the answers to the one before it.
const (
	msgWelcome = 'w'
	msgDo      = 'd'
	msgEnd     = 'q'
	msgAnswer  = 'a'

	// maxOps bounds what one request to the poker holds, since somebody's close may wait for its turn behind a long batch
	// of another's.
	maxOps = 64

	msgHeader = 1 + 8
	opHeader  = 1 + 8 + 8 + 2 + 2
)

func welcome(thread uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{msgWelcome}, thread)
}

// encode appends as many of ops to one message as fit, and says how many.
func encode(id uint64, ops []Op) (msg []byte, n int, err error) {
	msg = binary.LittleEndian.AppendUint64([]byte{msgDo}, id)
	for _, op := range ops[:min(len(ops), maxOps)] {
		if len(op.Name) >= unix.PathMax || len(op.Path) >= unix.PathMax {
			return nil, 0, fmt.Errorf("poke %.64q %.64q: %w", op.Name, op.Path, unix.ENAMETOOLONG)
		}
		if len(msg)+opHeader+len(op.Name)+len(op.Path) > maxMessage {
			break
		}
		msg = append(msg, byte(op.Kind))
		msg = binary.LittleEndian.AppendUint64(msg, op.Parent)
		msg = binary.LittleEndian.AppendUint64(msg, op.Node)
		msg = binary.LittleEndian.AppendUint16(msg, uint16(len(op.Name)))
		msg = binary.LittleEndian.AppendUint16(msg, uint16(len(op.Path)))
		msg = append(append(msg, op.Name...), op.Path...)
		n++
	}
	return msg, n, nil
}

// decode is encode's inverse; a message of another form is EBADMSG.
func decode(msg []byte) (id uint64, ops []Op, err error) {
	if len(msg) < msgHeader || msg[0] != msgDo {
		return 0, nil, unix.EBADMSG
	}
	id = binary.LittleEndian.Uint64(msg[1:])
	for rest := msg[msgHeader:]; len(rest) > 0; {
		if len(rest) < opHeader {
			return 0, nil, unix.EBADMSG
		}
		op := Op{
			Kind:   OpKind(rest[0]),
			Parent: binary.LittleEndian.Uint64(rest[1:]),
			Node:   binary.LittleEndian.Uint64(rest[9:]),
		}
		name := int(binary.LittleEndian.Uint16(rest[17:]))
		path := int(binary.LittleEndian.Uint16(rest[19:]))
		rest = rest[opHeader:]
		if len(rest) < name+path {
			return 0, nil, unix.EBADMSG
		}
		op.Name, op.Path = string(rest[:name]), string(rest[name:name+path])
		rest = rest[name+path:]
		ops = append(ops, op)
	}
	return id, ops, nil
}

func encodeAnswer(id uint64, results []unix.Errno) []byte {
	msg := binary.LittleEndian.AppendUint64([]byte{msgAnswer}, id)
	for _, errno := range results {
		msg = binary.LittleEndian.AppendUint16(msg, uint16(errno))
	}
	return msg
}

func decodeAnswer(msg []byte) (id uint64, results []unix.Errno, err error) {
	if len(msg) < msgHeader || msg[0] != msgAnswer || len(msg[msgHeader:])%2 != 0 {
		return 0, nil, unix.EBADMSG
	}
	for rest := msg[msgHeader:]; len(rest) > 0; rest = rest[2:] {
		results = append(results, unix.Errno(binary.LittleEndian.Uint16(rest)))
	}
	return binary.LittleEndian.Uint64(msg[1:]), results, nil
}
