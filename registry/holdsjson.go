package registry

import "bytes"

// HoldsJSON says whether a body is a JSON object or list, so that what replaces it should be JSON too. A bare word or number may be
// anything.
func HoldsJSON(body []byte) bool {
	start := bytes.TrimLeft(body, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return false
	}
	var check JSONCheck
	_, err := check.Write(body)
	return err == nil && check.Close() == nil
}
