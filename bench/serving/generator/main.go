// Command generator sends one prepared request over and over to a server on this machine, and counts honestly.
//
// Closed loop: every connection sends its next request when it has the answer to the last one. Open loop (-rate):
// requests are due at random times of a Poisson process whatever the server does, and each one's time counts from
// when it was due, so a server that stalls pays for all that had to wait. An answer that is not a 2xx, or whose
// grpc-status is not 0, is a failure with its reason. Prints one JSON object.
//
// bench/serving/generator.py calls it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
)

// A connection carries one request at a time.
type connection interface {
	// Exchange sends the request and reads the whole answer. A refusal is an answer that is an error by the
	// protocol; err means that the connection is of no more use.
	exchange() (refusal string, err error)
	close()
}

type dialer func() (connection, error)

func main() {
	address := flag.String("address", "", "host:port, on loopback")
	protocol := flag.String("protocol", "http", "http: the request file is a whole HTTP/1.1 request; grpc: a gRPC frame")
	path := flag.String("path", "", "gRPC method, as /package.Service/Method")
	request := flag.String("request", "", "file with the request")
	connections := flag.Int("connections", 1, "how many at most")
	seconds := flag.Float64("seconds", 1, "how long to send")
	warmup := flag.Float64("warmup", 0, "seconds before that, which count for nothing")
	rate := flag.Float64("rate", 0, "requests a second on average, whatever comes back; 0: closed loop")
	seed := flag.Uint64("seed", 1, "of the open loop's times")
	flag.Parse()

	payload, err := os.ReadFile(*request)
	if err == nil {
		err = onLoopback(*address)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	dial := func() (connection, error) { return dialHTTP(*address, payload) }
	if *protocol == "grpc" {
		dial = func() (connection, error) { return dialGRPC(*address, *path, payload) }
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // the clock of the open loop sleeps in the kernel, and holds one
	counted := newRun(dial, *connections, *warmup, *seconds).do(*rate, *seed)
	_ = json.NewEncoder(os.Stdout).Encode(counted)
}

func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not an address of this machine's loopback: load goes nowhere else", host)
	}
	return nil
}

func open(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 5*time.Second)
}
