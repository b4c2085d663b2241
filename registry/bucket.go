package registry

import (
	"crypto/md5"
	"math/big"
)

// buckets is how many parts a decider divides everybody into: a gate of n percent is open for the first n of them.
const buckets = 100

// IDBucket is the bucket, 0 to 99, of a number: its remainder with Python's sign rule, so that -1 is in 99.
func IDBucket(id int64) int {
	return int((id%buckets + buckets) % buckets)
}

// KeyBucket is the bucket, 0 to 99, of a key for one decider: md5("decider_" + decider + key), a number of 128 bits, modulo 100. The
// name is hashed as it is given, in whatever case, as in Python; so two deciders divide the same keys differently.
func KeyBucket(decider, key string) int {
	sum := md5.Sum([]byte("decider_" + decider + key))
	n := new(big.Int).SetBytes(sum[:])
	return int(n.Mod(n, big.NewInt(buckets)).Int64())
}
