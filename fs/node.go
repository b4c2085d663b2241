package fs

import (
	"hash/fnv"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Node ids of the directories that are always there. They are part of the contract with a kernel that outlives this
// process: never renumber them.
const (
	rootNode      = 1
	configNode    = 2
	serversetNode = 3
	deciderNode   = 4
	errorNode     = 5
	statusNode    = 6
	pokeNode      = 7
	historyNode   = 8
	membersNode   = 9
	registerNode  = 10

	errorConfigNode    = 16
	errorServersetNode = 17
	errorDeciderNode   = 18
	errorDepNode       = 19
	errorRegisterNode  = 20
)

// Ranges of node ids. disk allots ids from 4096 to firstHashedNode for dependencies and their links; a commit stamp is a
// count of nanoseconds, above 2^32 since 1970 plus four seconds and below 2^62 until the year 2116.
const (
	firstHashedNode = 1 << 31 // status files: a hash of the name
	firstStamp      = 1 << 32
	draftBit        = 1 << 62 // drafts: a hash of the file's name, the server's incarnation and a counter
	refusalBit      = 1 << 61 // together with draftBit: a file of .error, a hash of its path
	scratchBit      = 1 << 60 // together with draftBit: a scratch file
)

// The parts of a draft's id, in bits from the right.
const (
	counterBits     = 24
	incarnationBits = 16
	nameBits        = 20
)

// nodeClass says what kind of thing a node id stands for.
type nodeClass uint8

const (
	fixedClass   nodeClass = iota // directories, links, status files
	versionClass                  // one immutable version of a file
	draftClass                    // one writer's private copy
	refusalClass                  // a file of .error
	hiddenClass                   // what is in .history, .members and .register
)

func classify(node uint64) nodeClass {
	switch {
	case node&hiddenBit != 0:
		return hiddenClass
	case node&draftBit != 0 && node&refusalBit != 0:
		return refusalClass
	case node&draftBit != 0:
		return draftClass
	case node >= firstStamp:
		return versionClass
	}
	return fixedClass
}

// kindOfDir maps a directory of files to their kind; 0 for every other node.
func kindOfDir(node uint64) registry.Kind {
	switch node {
	case configNode:
		return registry.Config
	case serversetNode:
		return registry.Serverset
	case deciderNode:
		return registry.Decider
	}
	return 0
}

// dirOfKind is the directory in which files of a kind live.
func dirOfKind(k registry.Kind) uint64 {
	switch k {
	case registry.Serverset:
		return serversetNode
	case registry.Decider:
		return deciderNode
	}
	return configNode
}

// dirOf is the directory of a file.
func dirOf(f disk.File) uint64 { return dirOfKind(f.Kind) }

// draftID is the id of a draft. The hash lets a new server tell what file a draft of its predecessor was about to be.
func draftID(file disk.File, scratch bool, incarnation, counter uint64) uint64 {
	id := draftBit | fileHash(file)<<(counterBits+incarnationBits) |
		incarnation&(1<<incarnationBits-1)<<counterBits | counter&(1<<counterBits-1)
	if scratch {
		id |= scratchBit
	}
	return id
}

// fileHash is of the name alone for configs: a server before this one may have known no other drafts.
func fileHash(file disk.File) uint64 {
	h := fnv.New32a()
	if file.Kind != registry.Config {
		h.Write([]byte(file.Kind.String() + "/"))
	}
	h.Write([]byte(file.Name))
	return uint64(h.Sum32()) & (1<<nameBits - 1)
}

// statusID is the node id of a status file. It depends on the name alone, so that every server agrees on it.
func statusID(name string) uint64 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return firstHashedNode | uint64(h.Sum32()>>1)
}

// refusalID is the node id of the file of .error that explains a refusal: path is like config/NAME.
func refusalID(path string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(path))
	return draftBit | refusalBit | h.Sum64()>>3
}

// depByID finds the directory of a dependency.
func depByID(g disk.Graph, id uint64) (disk.Dir, bool) {
	dir, link, ok := g.ByID(id)
	return dir, ok && link.ID == 0
}

// linkByID finds a member of a dependency.
func linkByID(g disk.Graph, id uint64) (disk.Link, bool) {
	_, link, ok := g.ByID(id)
	return link, ok && link.ID != 0
}
