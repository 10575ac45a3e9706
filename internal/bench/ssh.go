package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ssh runs against an sshd of its own on the loopback interface, with keys that
// exist only for this run: once with a connection for each program, once with
// one connection that all share (ControlMaster).
func (b *bench) ssh(path string) ([]subject, error) {
	sshd, keygen := find("sshd"), find("ssh-keygen")
	if sshd == "" || keygen == "" {
		return nil, fmt.Errorf("no sshd or no ssh-keygen")
	}
	for _, key := range []string{"ssh.host", "ssh.user"} {
		if err := b.runQuietly([]string{keygen, "-q", "-t", "ed25519", "-N", "", "-f", b.path(key)}); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w", err)
		}
	}
	port, err := b.startSSHD(sshd)
	if err != nil {
		return nil, err
	}
	ssh := []string{path, "-q", "-F", "none", "-p", strconv.Itoa(port), "-i", b.path("ssh.user"), "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
	shared := slices.Concat(ssh, []string{"-o", "ControlPath=" + b.path("ssh.mux")})
	if err := b.runQuietly(slices.Concat(ssh, []string{"127.0.0.1", "true"})); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if err := b.startServer(slices.Concat(shared, []string{"-M", "-N", "127.0.0.1"}), b.path("ssh.mux")); err != nil {
		return nil, err
	}
	return []subject{sshSubject("ssh-mux", shared), sshSubject("ssh", ssh)}, nil
}

// sshSubject takes no part in bursts: it would take most of the time of all.
func sshSubject(name string, ssh []string) subject {
	over := func(flag string) command {
		return func(argv ...string) ([]string, error) {
			return slices.Concat(ssh, []string{flag, "127.0.0.1", "exec " + quote(argv)}), nil
		}
	}
	return subject{name: name, pipes: over("-T"), pty: over("-tt"), login: asLogin(over("-T"))}
}

// startSSHD starts the server and returns its port once it accepts.
func (b *bench) startSSHD(sshd string) (port int, err error) {
	if port, err = freePort(); err != nil {
		return 0, err
	}
	if err := b.privilegeSeparation(); err != nil {
		return 0, err
	}
	public, err := os.ReadFile(b.path("ssh.user.pub"))
	if err != nil {
		return 0, err
	}
	config := strings.Join([]string{
		"ListenAddress 127.0.0.1:" + strconv.Itoa(port), "HostKey " + b.path("ssh.host"),
		"AuthorizedKeysFile " + b.path("ssh.authorized"), "PidFile none", "StrictModes no", "UsePAM no",
		"PermitRootLogin yes", "PasswordAuthentication no", "MaxSessions 4096", "MaxStartups 4096",
		"SetEnv HOME=" + b.dir,
	}, "\n") + "\n"
	for name, text := range map[string][]byte{"ssh.authorized": public, "sshd.conf": []byte(config)} {
		if err := os.WriteFile(b.path(name), text, 0o600); err != nil {
			return 0, err
		}
	}
	p, err := b.startSilent([]string{sshd, "-D", "-f", b.path("sshd.conf")}, patience*40)
	if err != nil {
		return 0, err
	}
	b.atEnd(p.kill)
	return port, eventually("sshd", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = c.Close() // it was opened for nothing else
		}
		return err == nil
	})
}

// privilegeSeparation makes the empty directory that sshd wants when root runs
// it, and takes it away afterwards if it was not there.
func (b *bench) privilegeSeparation() error {
	const dir = "/run/sshd"
	if unix.Geteuid() != 0 {
		return nil
	}
	err := os.Mkdir(dir, 0o755)
	if os.IsExist(err) {
		return nil
	}
	b.atEnd(func() { _ = os.Remove(dir) }) // somebody else may use it by now
	return err
}

// freePort finds a port that nobody has; somebody could take it before sshd
// does, in which case ssh takes no part.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
