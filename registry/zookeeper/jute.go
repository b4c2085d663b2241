package zookeeper

import "encoding/binary"

// What is said on a connection before go-zookeeper gets it is written here, in ZooKeeper's Jute encoding: big-endian integers, strings
// and buffers behind their length. The layouts are those of zookeeper.jute in ZooKeeper 3.4 to 3.9.

// The operations, and the xids that ZooKeeper's own clients use for what is not a plain request.
const (
	opExists     int32 = 3
	opSync       int32 = 9
	opAuth       int32 = 100
	opSetWatches int32 = 101
	opClose      int32 = -11

	xidEvent      int32 = -1
	xidAuth       int32 = -4
	xidSetWatches int32 = -8
	xidSync       int32 = 1
	xidExists     int32 = 2
	xidClose      int32 = 3
)

// codeNoNode is the error of a request for what does not exist.
const codeNoNode int32 = -101

// message is a frame that is being written. Its length is set by frame.
type message []byte

func request(xid, op int32) message {
	return make(message, 4, 64).int32(xid).int32(op)
}

func (m message) int32(v int32) message { return binary.BigEndian.AppendUint32(m, uint32(v)) }
func (m message) int64(v int64) message { return binary.BigEndian.AppendUint64(m, uint64(v)) }

func (m message) bool(v bool) message {
	if v {
		return append(m, 1)
	}
	return append(m, 0)
}

func (m message) string(s string) message { return append(m.int32(int32(len(s))), s...) }

func (m message) strings(list []string) message {
	m = m.int32(int32(len(list)))
	for _, s := range list {
		m = m.string(s)
	}
	return m
}

func (m message) frame() []byte {
	binary.BigEndian.PutUint32(m, uint32(len(m)-4))
	return m
}

// connectResponse is the fixed part of the first reply; the password follows behind its length.
type connectResponse struct {
	Protocol int32
	Timeout  int32 // ms
	Session  int64
	Password int32 // its length
}

// replyHeader begins every other message from the server.
type replyHeader struct {
	XID  int32
	Zxid int64
	Err  int32
}

const replyHeaderSize = 16

// eventHeader is the fixed part of an event; the path follows.
type eventHeader struct {
	Type, State int32
	Path        int32 // its length
}

// stat is what is known of a node beside its data.
type stat struct {
	Czxid, Mzxid, Ctime, Mtime   int64
	Version, Cversion, Aversion  int32
	EphemeralOwner               int64
	DataLength, NumberOfChildren int32
	Pzxid                        int64
}

// decode reads a fixed structure from the beginning of b and returns the rest.
func decode(b []byte, v any) (rest []byte, err error) {
	n, err := binary.Decode(b, binary.BigEndian, v)
	if err != nil {
		return nil, errMalformed
	}
	return b[n:], nil
}
