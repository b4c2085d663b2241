package registry

import "strings"

// Pointer is the path of a node that holds a version token: /config/manageddata/spam/blacklist or
// /metaconfig/metaconfig/config.manageddata.spam.blacklist. The bodies it points to are stored under keys made from it.
type Pointer string

// Key is the S3 key of one version's body. Every dot becomes a slash, the token's too, and no slash leads: the old system
// wrote data/config/manageddata/spam/blacklist_1795296152/52 for version 1795296152.52.
func (p Pointer) Key(v Version) string {
	return strings.ReplaceAll("data"+string(p)+"_"+string(v), ".", "/")
}

// IndexKey is the S3 key of the object that repeats the current version, for readers without ZooKeeper.
func (p Pointer) IndexKey() string {
	return strings.ReplaceAll("data"+string(p), ".", "/")
}
