package zookeeper

// ForgetSession makes the next connection begin a session although the ensemble still has the old one.
func (c *Client) ForgetSession() { c.keep(session{}) }
