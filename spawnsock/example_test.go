//go:build linux

package spawnsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"shellspawn/spawnsock"
)

// A Unix listener with a backlog, a server on it and a client that waits for
// its turn.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "x.sock")

	l, err := spawnsock.Listen(path, spawnsock.Options{Backlog: 64, Mode: 0o600})
	if err != nil {
		log.Fatal(err)
	}
	asked, effective := l.Backlog()
	fmt.Println("backlog", asked, "effective", effective)

	// A second server on the same path learns who the first one is.
	_, err = spawnsock.Listen(path, spawnsock.Options{})
	var busy *spawnsock.InUseError
	fmt.Println("second server:", errors.As(err, &busy) && busy.PID == os.Getpid())

	srv := &spawnsock.Server{Handler: func(_ context.Context, c *net.UnixConn) {
		fmt.Fprintln(c, "hello")
	}}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := spawnsock.Dial(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		log.Fatal(err)
	}
	_ = c.Close()
	fmt.Printf("%s", answer)

	if err := srv.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	// Output:
	// backlog 64 effective 64
	// second server: true
	// hello
	// spawnsock: server closed
}
