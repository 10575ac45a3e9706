package wire

import "encoding/binary"

// Start is the one request of a connection: it carries everything the daemon
// needs to start a shell or a program.
type Start struct {
	// Argv is the program and its arguments; with Shell the arguments that
	// the shell gets after its own name.
	Argv []string
	// Shell runs the shell at ShellPath, or the user's own if that is empty.
	Shell     bool
	ShellPath string
	// Login makes the shell a login shell.
	Login bool
	Env   []string
	// Named is how many variables at the end of Env the user asked for one by one,
	// or all of them: those reach the program whoever it runs as.
	Named uint32
	// Dir is the working directory. If DirRequired is not set and it cannot
	// be entered, the shell starts in the home directory with a warning.
	Dir         string
	DirRequired bool
	Umask       uint32
	// User is the name of the user to run as; empty for the caller.
	User string
	// Terminal asks for a pty; nil for none.
	Terminal *Terminal
	// Stdio names the descriptors that travel with the request, in their
	// order: 0, 1 and 2 become stdin, stdout and stderr of the program.
	Stdio []byte
}

// Terminal is the size and the settings that a pty has before the program
// runs. Settings is the kernel's struct termios2 as ioctl(TCGETS2) gives it,
// or empty for the defaults.
type Terminal struct {
	Rows, Cols, XPixels, YPixels uint16
	Settings                     []byte
}

const (
	terminalSize = 8
	settingsSize = 44
)

// AppendStart appends the opening and the request: all that a client sends
// before the first answer, in one piece so that one sendmsg(2) carries it.
func AppendStart(b []byte, h Hello, s *Start) []byte {
	b, at := beginMessage(appendHello(b, h), KindStart)
	b = appendList(b, "argv", true, s.Argv)
	b = appendList(b, "env", true, s.Env)
	if s.Shell {
		b = appendString(b, "shell", true, s.ShellPath)
	}
	if s.Login {
		b = appendString(b, "login", true, "")
	}
	if s.DirRequired {
		b = appendString(b, "chdir", true, s.Dir)
	} else if s.Dir != "" {
		b = appendString(b, "cwd", true, s.Dir)
	}
	b = appendUint32(b, "umask", true, s.Umask)
	if s.User != "" {
		b = appendString(b, "user", true, s.User)
	}
	if s.Terminal != nil {
		b = appendTerminal(b, s.Terminal)
	}
	if s.Named > 0 {
		b = appendUint32(b, "named", false, s.Named)
	}
	b = appendField(b, "stdio", true, s.Stdio)
	return endMessage(b, at)
}

func appendTerminal(b []byte, t *Terminal) []byte {
	b = appendFieldHeader(b, "terminal", true, terminalSize+len(t.Settings))
	for _, v := range [...]uint16{t.Rows, t.Cols, t.XPixels, t.YPixels} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return append(b, t.Settings...)
}

// ParseStart reads the payload of a KindStart message. The result holds no
// reference to payload.
func ParseStart(payload []byte) (*Start, error) {
	s := &Start{Umask: 0o022}
	stdio := false
	err := eachField(payload, func(f field) (bool, error) {
		stdio = stdio || f.name == "stdio"
		return s.set(f)
	})
	switch {
	case err != nil:
		return nil, err
	case !stdio:
		return nil, protocolError("no stdio")
	case !s.Shell && len(s.Argv) == 0:
		return nil, protocolError("no program")
	case s.DirRequired && s.Dir == "":
		return nil, protocolError("chdir without a directory")
	}
	return s, nil
}

// set stores one field of a start request.
func (s *Start) set(f field) (known bool, err error) {
	switch f.name {
	case "argv":
		s.Argv, err = f.list()
	case "env":
		s.Env, err = f.list()
	case "named":
		s.Named, err = f.uint32()
	case "shell":
		s.Shell = true
		s.ShellPath, err = f.text()
	case "login":
		s.Login = true
	case "chdir":
		s.DirRequired = true
		s.Dir, err = f.text()
	case "cwd":
		if !s.DirRequired {
			s.Dir, err = f.text()
		}
	case "umask":
		s.Umask, err = f.uint32()
	case "user":
		s.User, err = f.text()
	case "terminal":
		s.Terminal, err = parseTerminal(f.value)
	case "stdio":
		s.Stdio, err = parseStdio(f.value)
	default:
		return false, nil
	}
	return true, err
}

func parseTerminal(v []byte) (*Terminal, error) {
	if len(v) != terminalSize && len(v) != terminalSize+settingsSize {
		return nil, protocolError("terminal of a wrong size")
	}
	return &Terminal{
		Rows:     binary.LittleEndian.Uint16(v),
		Cols:     binary.LittleEndian.Uint16(v[2:]),
		XPixels:  binary.LittleEndian.Uint16(v[4:]),
		YPixels:  binary.LittleEndian.Uint16(v[6:]),
		Settings: append([]byte(nil), v[terminalSize:]...),
	}, nil
}

// parseStdio checks that each number is one of 0, 1 and 2 and stands once.
func parseStdio(v []byte) ([]byte, error) {
	if len(v) > MaxDescriptors {
		return nil, protocolError("more than three descriptors")
	}
	var seen [MaxDescriptors]bool
	for _, n := range v {
		if int(n) >= len(seen) || seen[n] {
			return nil, protocolError("stdio names a descriptor that is not 0, 1 or 2, or one twice")
		}
		seen[n] = true
	}
	return append([]byte(nil), v...), nil
}
