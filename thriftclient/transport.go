package thriftclient

import (
	"context"

	"github.com/apache/thrift/lib/go/thrift"
)

// Transport is how messages are cut out of the stream. Both sides must say the same.
type Transport int

const (
	Buffered Transport = iota // one message after the other: TBufferedTransport
	Framed                    // each with its length before it: TFramedTransport
	Header                    // frames that carry headers, too: THeaderTransport
)

func (t Transport) valid() bool { return t >= Buffered && t <= Header }

// Protocol is how values are written.
type Protocol int

const (
	Binary  Protocol = iota // TBinaryProtocol
	Compact                 // TCompactProtocol
)

func (p Protocol) valid() bool { return p == Binary || p == Compact }

// bufferSize is that of a connection in each direction, in bytes. Larger messages go through it in pieces.
const bufferSize = 4096

// codec makes the protocols that speak over a wire.
type codec struct {
	transport     Transport
	protocol      Protocol
	service       string
	configuration *thrift.TConfiguration
}

func newCodec(o Options) *codec {
	c := &codec{transport: o.Transport, protocol: o.Protocol, service: o.Service, configuration: &thrift.TConfiguration{}}
	if o.Configuration != nil {
		*c.configuration = *o.Configuration
	}
	if o.Transport == Header && c.configuration.THeaderProtocolID == nil {
		id := thrift.THeaderProtocolBinary
		if o.Protocol == Compact {
			id = thrift.THeaderProtocolCompact
		}
		c.configuration.THeaderProtocolID = &id
	}
	return c
}

// over makes the protocols of both directions. *buffer is the lowest of the buffers.
func (c *codec) over(w *wire, buffer **thrift.TBufferedTransport) (in, out thrift.TProtocol, header *thrift.THeaderProtocol) {
	*buffer = thrift.NewTBufferedTransport(w, bufferSize)
	// The frames lie in it too: their length and their body leave in one packet.
	var t thrift.TTransport = *buffer
	if c.transport == Framed {
		t = thrift.NewTFramedTransportConf(t, c.configuration)
	}
	switch {
	case c.transport == Header:
		header = thrift.NewTHeaderProtocolConf(t, c.configuration)
		in = header
	case c.protocol == Compact:
		in = thrift.NewTCompactProtocolConf(t, c.configuration)
	default:
		in = thrift.NewTBinaryProtocolConf(t, c.configuration)
	}
	out = in
	if c.service != "" {
		out = thrift.NewTMultiplexedProtocol(in, c.service)
	}
	return in, out, header
}

// setHeaders makes the headers that ctx wants written those of the next message.
func setHeaders(ctx context.Context, header *thrift.THeaderProtocol) {
	header.ClearWriteHeaders()
	for _, key := range thrift.GetWriteHeaderList(ctx) {
		if value, ok := thrift.GetHeader(ctx, key); ok {
			header.SetWriteHeader(key, value)
		}
	}
}
