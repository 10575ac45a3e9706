package daemon

import "shellspawn/internal/wire"

// control answers a question about the daemon.
func (cn *conn) control(payload []byte) error {
	c, err := wire.ParseControl(payload)
	if err != nil {
		return err
	}
	return refuse("protocol", "control "+c.Command+": unknown command", "")
}
