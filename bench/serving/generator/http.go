package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

const answerWithin = 30 * time.Second

// HTTP/1.1 with keep-alive.
type httpConnection struct {
	socket  net.Conn
	reader  *bufio.Reader
	request []byte
}

func dialHTTP(address string, request []byte) (connection, error) {
	socket, err := open(address)
	if err != nil {
		return nil, err
	}
	return &httpConnection{socket, bufio.NewReaderSize(socket, 64<<10), request}, nil
}

func (c *httpConnection) close() { _ = c.socket.Close() }

var errHangsUp = errors.New("the server hangs up after this answer")

func (c *httpConnection) exchange() (string, error) {
	_ = c.socket.SetDeadline(time.Now().Add(answerWithin))
	if _, err := c.socket.Write(c.request); err != nil {
		return "", err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 12 {
		return "", fmt.Errorf("not HTTP: %q", line)
	}
	status := string(line[9:12])
	length, hangsUp, err := c.headers()
	if err != nil {
		return "", err
	}
	if length == chunked {
		err = c.discardChunks()
	} else {
		_, err = c.reader.Discard(length)
	}
	if err != nil {
		return "", err
	}
	if hangsUp {
		err = errHangsUp
	}
	if status[0] != '2' {
		return "status " + status, err
	}
	return "", err
}

// Lengths that are none.
const (
	unknown = -1
	chunked = -2
)

func (c *httpConnection) headers() (length int, hangsUp bool, err error) {
	length = unknown
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		name, value, found := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		switch {
		case !found && length == unknown:
			return 0, false, errors.New("an answer of unknown length")
		case !found:
			return length, hangsUp, nil
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, false, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			length = chunked
		case bytes.EqualFold(name, []byte("connection")):
			hangsUp = bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
}

func (c *httpConnection) discardChunks() error {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if _, err := c.reader.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return err
		}
	}
}
