package main

import (
	"errors"
	"strings"
	"time"

	"shellspawn/internal/client"
)

// call is one parsed command line.
type call struct {
	options       client.Options
	help, version bool
}

// flag is one flag. Exactly one of on and set is there: set takes a value.
type flag struct {
	short byte
	long  string
	on    func(*call)
	set   func(*call, string) error
}

// flags is parsed by hand, since a flag library costs a client that starts for
// every command more than everything else that it does.
var flags = []flag{
	{'S', "socket", nil, text(func(c *call) *string { return &c.options.Socket })},
	{'c', "command", nil, func(c *call, v string) error {
		c.options.Command, c.options.HasCommand = v, true
		return nil
	}},
	{'l', "login", func(c *call) { c.options.Login = true }, nil},
	{0, "shell", nil, text(func(c *call) *string { return &c.options.Shell })},
	{'t', "tty", func(c *call) { c.options.Terminal = client.Always }, nil},
	{'T', "no-tty", func(c *call) { c.options.Terminal = client.Never }, nil},
	{'C', "chdir", nil, text(func(c *call) *string { return &c.options.Dir })},
	{'e', "env", nil, setEnv},
	{'E', "preserve-env", func(c *call) { c.options.PreserveEnv = true }, nil},
	{'i', "clean-env", func(c *call) { c.options.CleanEnv = true }, nil},
	{'u', "user", nil, text(func(c *call) *string { return &c.options.User })},
	{0, "connect-timeout", nil, setTimeout},
	{0, "wait", func(c *call) { c.options.Wait = true }, nil},
	{0, "legacy", func(c *call) { c.options.Legacy = true }, nil},
	{'v', "verbose", func(c *call) { c.options.Verbose = true }, nil},
	{0, "version", func(c *call) { c.version = true }, nil},
	{'h', "help", func(c *call) { c.help = true }, nil},
}

// text stores a value that must not be empty.
func text(where func(*call) *string) func(*call, string) error {
	return func(c *call, v string) error {
		if v == "" {
			return errors.New("empty value")
		}
		*where(c) = v
		return nil
	}
}

func setEnv(c *call, v string) error {
	if strings.IndexByte(v, '=') < 1 {
		return errors.New("not of the form NAME=VALUE")
	}
	c.options.SetEnv = append(c.options.SetEnv, v)
	return nil
}

// setTimeout takes a duration such as 1m30s, or a plain number of seconds.
func setTimeout(c *call, v string) error {
	if v != "" && strings.Trim(v, "0123456789.") == "" {
		v += "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return errors.New("not a duration such as 30s")
	}
	c.options.ConnectTimeout = d
	return nil
}

// parse reads flags up to the first argument that is not one, or --.
func parse(args []string) (*call, error) {
	c := &call{options: client.Options{ConnectTimeout: 30 * time.Second}}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			args = args[1:]
			break
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		var err error
		if a[1] == '-' {
			args, err = c.long(a[2:], args[1:])
		} else {
			args, err = c.short(a[1:], args[1:])
		}
		if err != nil {
			return nil, err
		}
	}
	c.options.Args = args
	return c, nil
}

// long takes one --name or --name=value, and a value from rest where it needs
// one.
func (c *call) long(arg string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(arg, "=")
	for _, f := range flags {
		if f.long == name {
			return c.apply(f, "--"+name, value, given, rest)
		}
	}
	return nil, errors.New("unknown flag --" + name)
}

// short takes a cluster such as -tv, of which the last may have its value
// attached.
func (c *call) short(cluster string, rest []string) ([]string, error) {
	for i := 0; i < len(cluster); i++ {
		f, ok := shortFlag(cluster[i])
		if !ok {
			return nil, errors.New("unknown flag -" + cluster[i:i+1])
		}
		value := cluster[i+1:]
		if f.set != nil {
			return c.apply(f, "-"+cluster[i:i+1], value, value != "", rest)
		}
		f.on(c)
	}
	return rest, nil
}

func shortFlag(letter byte) (flag, bool) {
	for _, f := range flags {
		if f.short == letter && letter != 0 {
			return f, true
		}
	}
	return flag{}, false
}

func (c *call) apply(f flag, name, value string, given bool, rest []string) ([]string, error) {
	if f.set == nil {
		if given {
			return nil, errors.New("flag " + name + ": takes no value")
		}
		f.on(c)
		return rest, nil
	}
	if !given {
		if len(rest) == 0 {
			return nil, errors.New("flag " + name + ": needs a value")
		}
		value, rest = rest[0], rest[1:]
	}
	if value != "" {
		name += " "
	}
	if err := f.set(c, value); err != nil {
		return nil, errors.New("flag " + name + value + ": " + err.Error())
	}
	return rest, nil
}
