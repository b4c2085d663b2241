// Package manageddata reads and writes managed data, config.manageddata.DOMAIN.KEY, as Go values: lists, maps, maps of lists, any
// JSON, or plain bytes.
//
//	limits, err := manageddata.OpenMap[string, int]("api", "rate_limits", manageddata.Options{})
//	n, ok := limits.Value("search")                 // a pointer load and a map look-up: no lock, no file, no allocation
//	err = limits.Update(ctx, func(m map[string]int) error { m["search"] += 10; return nil })
//	for v := range limits.Changes(ctx) { log.Printf("%d limits", v.Len()) }
//
// Open never fails because a file is missing or broken; Wait waits for a good one, Err says what is wrong, and the last good value stays. A test
// of an application is Options{Dir: t.TempDir()} with the file in it, or without: writing makes it.
//
// # Writing
//
// Every change goes through the file, so an application needs no credentials. On a mount it is a compare-and-set: the file is opened
// for reading and writing, which pins its version; who loses the race reads again and applies its function again, until ctx is
// done. Such a function must not change the same data by another call: that one would wait for this one. Changes that are made at the
// same time in one process become one version. A change that changes nothing makes no version.
// Afterwards the value is loaded here. On plain directories, which tests and laptops have, a change is an atomic replacement under a lock of the directory.
//
// An error wraps one of the registry package's, and has the monitor's reason in it: ErrInvalid if validation refused it, ErrPermission, ErrUnreachable while ZooKeeper
// or S3 is away, ErrUnknown if nobody knows whether it happened.
//
// # The old classes
//
// The bytes are those of Python's classes, which compare what is stored with their own, so old and new programs may write the same data. What keys and elements hold beyond the Go
// type, fields that a struct does not have for instance, stays as long as the key or element is not changed.
//
//	ManagedList                       List          Contains, Values, Shuffled, Len, Add, Remove, Set, Clear
//	ManagedHashMap                    Map           Value, View, Put, PutAll, Set, Remove, Clear
//	ManagedMappedList                 MappedList    List, Contains, Found, Add, Remove, Set, SetAll, RemoveList, Clear
//	ManagedJsonSerializableDataConfig JSON          Value, Set, Clear
//	ManagedJsonConfig                 Raw           Value, Set, Clear
//
// All of them have Update, Changes, Wait, Err and Close. Validators are Options.Check; a renderer is a loop over All.
package manageddata
