package wire

// Control asks the daemon something about itself or its shells, in place of a
// Start. Args are the command's words; what they mean is the daemon's affair.
type Control struct {
	Command string
	Args    []string
}

// AppendControl appends the opening and a KindControl message.
func AppendControl(b []byte, h Hello, c Control) []byte {
	b, at := beginMessage(appendHello(b, h), KindControl)
	b = appendString(b, "command", true, c.Command)
	b = appendList(b, "args", true, c.Args)
	return endMessage(b, at)
}

// ParseControl reads the payload of a KindControl message.
func ParseControl(payload []byte) (c Control, err error) {
	err = eachField(payload, func(f field) (known bool, err error) {
		switch f.name {
		case "command":
			c.Command, err = f.text()
		case "args":
			c.Args, err = f.list()
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && c.Command == "" {
		err = protocolError("control without a command")
	}
	return c, err
}

// AppendReply appends a KindReply message: body is JSON.
func AppendReply(b []byte, body []byte) []byte {
	b, at := beginMessage(b, KindReply)
	b = append(b, body...)
	return endMessage(b, at)
}
