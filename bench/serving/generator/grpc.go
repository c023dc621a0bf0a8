package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	ourStreamWindow = 1 << 24
	ourWindow       = 1<<31 - 1
	window          = 65535 // of a new connection and its streams, until the other side says more
	frameSize       = 16384
)

// HTTP/2 without TLS, one unary call at a time.
type grpcConnection struct {
	socket  net.Conn
	writer  *bufio.Writer
	framer  *http2.Framer
	request []byte
	headers []byte

	stream       uint32
	leaving      bool  // the server takes no more streams
	sendWindow   int64 // of the connection
	streamWindow int64 // of the call
	initial      int64 // of each new stream
	maxFrame     int
	unread       uint32 // bytes that came and whose window we have not given back

	status string // grpc-status of the call, or why there is none
	ended  bool
}

func dialGRPC(address, path string, request []byte) (connection, error) {
	socket, err := open(address)
	if err != nil {
		return nil, err
	}
	writer := bufio.NewWriterSize(socket, 64<<10)
	c := &grpcConnection{
		socket: socket, writer: writer, framer: http2.NewFramer(writer, bufio.NewReaderSize(socket, 64<<10)),
		request: request, headers: requestHeaders(address, path),
		stream: 1, sendWindow: window, initial: window, maxFrame: frameSize,
	}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.SetReuseFrames()
	_, _ = writer.WriteString(http2.ClientPreface)
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: ourStreamWindow},
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
	)
	_ = c.framer.WriteWindowUpdate(0, ourWindow-window)
	return c, writer.Flush()
}

// The same for each call: nothing is put into the table of headers.
func requestHeaders(address, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", address},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

func (c *grpcConnection) close() { _ = c.socket.Close() }

func (c *grpcConnection) exchange() (string, error) {
	_ = c.socket.SetDeadline(time.Now().Add(answerWithin))
	c.ended, c.status, c.streamWindow = false, "", c.initial
	if err := c.send(); err != nil {
		return "", err
	}
	for !c.ended {
		if err := c.receive(); err != nil {
			return "", err
		}
	}
	c.stream += 2
	var err error
	if c.leaving {
		err = errHangsUp
	}
	if c.status != "0" {
		return "grpc-status " + c.status, err
	}
	return "", err
}

func (c *grpcConnection) send() error {
	head := http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.headers, EndHeaders: true}
	if err := c.framer.WriteHeaders(head); err != nil {
		return err
	}
	for rest := c.request; len(rest) > 0 && !c.ended; {
		size := min(int64(len(rest)), int64(c.maxFrame), c.sendWindow, c.streamWindow)
		if size <= 0 {
			if err := c.flushAndReceive(); err != nil {
				return err
			}
			continue
		}
		if err := c.framer.WriteData(c.stream, size == int64(len(rest)), rest[:size]); err != nil {
			return err
		}
		rest = rest[size:]
		c.sendWindow -= size
		c.streamWindow -= size
	}
	return c.writer.Flush()
}

func (c *grpcConnection) flushAndReceive() error {
	if err := c.writer.Flush(); err != nil {
		return err
	}
	return c.receive()
}

// Receive handles the next frame, whatever it is.
func (c *grpcConnection) receive() error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	switch frame := frame.(type) {
	case *http2.MetaHeadersFrame:
		c.fields(frame)
	case *http2.DataFrame:
		c.ended = c.ended || frame.StreamEnded()
		return c.giveBack(frame.Length)
	case *http2.RSTStreamFrame:
		c.ended, c.status = true, "none: "+frame.ErrCode.String()
	case *http2.WindowUpdateFrame:
		if frame.StreamID == 0 {
			c.sendWindow += int64(frame.Increment)
		} else if frame.StreamID == c.stream {
			c.streamWindow += int64(frame.Increment)
		}
	case *http2.SettingsFrame:
		return c.settings(frame)
	case *http2.PingFrame:
		if !frame.IsAck() {
			_ = c.framer.WritePing(true, frame.Data)
			return c.writer.Flush()
		}
	case *http2.GoAwayFrame:
		c.leaving = true
		if frame.LastStreamID < c.stream {
			return fmt.Errorf("the server left before it took the call: %s", frame.ErrCode)
		}
	}
	return nil
}

func (c *grpcConnection) fields(frame *http2.MetaHeadersFrame) {
	for _, field := range frame.Fields {
		if field.Name == "grpc-status" {
			c.status = field.Value
		}
		if field.Name == ":status" && field.Value != "200" {
			c.status = "none: HTTP status " + field.Value
		}
	}
	if frame.StreamEnded() {
		c.ended = true
		if c.status == "" {
			c.status = "missing"
		}
	}
}

func (c *grpcConnection) settings(frame *http2.SettingsFrame) error {
	if frame.IsAck() {
		return nil
	}
	_ = frame.ForeachSetting(func(setting http2.Setting) error {
		switch setting.ID {
		case http2.SettingInitialWindowSize:
			c.streamWindow += int64(setting.Val) - c.initial
			c.initial = int64(setting.Val)
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(setting.Val)
		}
		return nil
	})
	_ = c.framer.WriteSettingsAck()
	return c.writer.Flush()
}

// GiveBack lets the server send as much again, seldom enough to cost nothing.
func (c *grpcConnection) giveBack(size uint32) error {
	if c.unread += size; c.unread < 1<<29 {
		return nil
	}
	_ = c.framer.WriteWindowUpdate(0, c.unread)
	c.unread = 0
	return c.writer.Flush()
}
