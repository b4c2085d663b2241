// Package decider asks the 0 to 100 gates of a fleet: who sees the new ranker, whether a feature is on at all.
//
//	deciders, err := decider.Open(decider.Options{Logger: slog.Default()}) // err: bad options only
//	ranker := deciders.Gate("new_ranker", 0)                               // once
//	if ranker.ActiveFor(userID) { newFeed() } else { oldFeed() }           // a few nanoseconds, as often as you like
//
// Asking never fails and never waits: what is unknown (the name, the file, the machine) has the percent that the caller gave as
// otherwise, and Explain says why. A gate hears of each change within a moment of its being applied on this machine.
//
// A test is decider.Fixed(map[string]int{"new_ranker": 100}).
//
// # Which of them
//
// All libraries of KingPin, in every language, put the same id and the same key into the same of 100 buckets, 0 to 99; the gate is
// active if the bucket is below its percent. So raising a percent only adds people.
//
//	ActiveFor(id)      the bucket is id modulo 100, never negative, as in Python: -1 is in 99
//	ActiveForKey(key)  the bucket is md5("decider_" + name + key), as one number of 128 bits, modulo 100
//	Active()           the bucket is random at each call
//
// Names are not case-sensitive. Only ActiveForKey hashes the name as the caller writes it, because Python does; Java's port makes it lower-case. Write names in lower case.
//
// A percent is a whole number. 12.5 cannot be set, since old readers compare buckets with whole numbers and count it as 13; so does this package where it finds it.
package decider
