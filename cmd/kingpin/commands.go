package main

import (
	"slices"
	"time"
)

// commands is the command line: all verbs, in the order of help.
func commands() []command {
	return slices.Concat(machineCommands(), []command{debugCommand()}, nameCommands(), removeCommands(), []command{metaconfigCommand()}, []command{watchCommand()}, deciderCommands(), fleetCommands(),
		[]command{registerCommand()}, dependencyCommands(), shellCommands(), hiddenCommands())
}

func monitorFlags() []option {
	return append(settings(), confOption(), sectionOption(),
		option{name: "print-config", value: false, usage: "print the effective values and where each came from"},
		option{name: "check-config", value: false, usage: "only say whether the configuration is valid"},
		option{name: "rescue", value: false, usage: "only bind the plain files over a mount whose monitor is dead, if there is one"},
		option{name: "demo", value: false, usage: "give a registry that is new a config and a decider to play with"},
		option{name: "hints", value: false, usage: "say on stderr what to try, as at a terminal"},
	)
}

func confOption() option {
	return option{name: "config", value: defaultConf, word: "FILE", env: "KINGPIN_CONFIG", usage: "the configuration file; FILE.d/*.conf comes after it"}
}

// machineCommands are about the machine as a whole.
func machineCommands() []command {
	return []command{
		{
			name: "monitor", brief: "mount and serve /var/kingpin, in the foreground", run: runMonitor, orders: true,
			flags: monitorFlags(), exits: []int{exitFailed, exitUsage, exitNoRight},
			long: `
The monitor keeps the names of this machine's dependencies on the local disk, up to date, and serves them as files. Each
flag is also a key of the configuration file (key = value, # starts a comment, a key may be repeated for a list and is
emptied by an empty value) and, in capitals behind KINGPIN_, a variable of the environment. A flag counts before the
environment, that before the files, those before the default. An unknown key is an error.

Without --zookeeper the registry is embedded: one file in the state directory, for this machine alone; a --dependency that does
not exist in it is created. With --zookeeper and --s3-bucket the machine is part of a fleet; a --dependency that does not exist
there is waited for. Neither has to be reachable: what is here is served, and updates come when they can.

SIGTERM and Ctrl-C finish the publishes under way and unmount.

--rescue is for ExecStopPost= of a service: when the whole monitor was killed, it lays the plain files, read only, over the dead
mount, until the next monitor mounts over them. After a clean stop, and beside a monitor that lives, it does nothing.`,
		},
		{
			name: "upgrade", brief: "hand the mount to another binary without a gap", run: runUpgrade,
			flags: []option{{name: "binary", value: "", word: "PATH", usage: "the new one; without it the one that the monitor was started from"}},
			exits: []int{exitFailed, exitUnreachable, exitNoRight},
			long: `
A server of the new binary is started, with the settings as the configuration file has them now. When it is prepared the
present one publishes to the end what it has begun, and the new one goes on where it left: no read fails, open files and watches
go on. If the new one is not ready within --timeout, the present one serves on, or again.`,
		},
		{
			name: "status", brief: "is this machine ready, stale, holding something back?", run: runStatus,
			args: []arg{{name: "NAME", optional: true, values: completeNames}}, exits: []int{exitDone, exitFailed, exitNoName, exitUnreachable},
			long: `
Ends with 0 if the machine is ready, or the name current, and with 1 if not. Names that are not current are listed with
the reason.`,
		},
		{
			name: "doctor", brief: "check mount, registry, S3, clock, permissions and disk; say what to do", run: runDoctor, remote: true,
			exits: []int{exitDone, exitFailed},
			long: `
Asks the monitor, and has it ask its registry and its bucket, then looks at the machine. Where no monitor answers it asks registry and
bucket itself, by the flags and files of kingpin monitor. Each line that is not ok says what to do.
Ends with 1 if something is wrong; a warning alone is none. It changes nothing.`,
		},
		{
			name: "wait", brief: "block until the machine is ready and the names can be read", run: runWait,
			args:  []arg{{name: "NAME", optional: true, repeated: true, values: completeNames}},
			flags: []option{{name: "timeout", value: 60 * time.Second, word: "TIME", usage: "how long to wait"}},
			exits: []int{exitDone, exitUnreachable},
			long: `
For init containers and ExecStartPre=. It may be started before the monitor is. When the time is over it says what is in the
way and ends with 6.`,
		},
		{
			name: "accept", brief: "believe the held state of a serverset now, on every machine that follows it", run: runAccept, direct: true,
			args: []arg{{name: "NAME", optional: true, values: completeServersets}},
			flags: []option{
				{name: "for", value: 15 * time.Minute, word: "TIME", usage: "how long whatever the registry shows is believed; 0 ends it"},
				{name: "here", value: false, usage: "only on this machine"},
				{name: "ensemble", value: false, usage: "ZooKeeper instead of a NAME, on this machine, though it is not the one of last time or has gone back in time"},
			},
			exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
			long: `
A serverset that is empty, or has lost more than half of five or more members at once, keeps its last good file until it is whole
again (one that is not empty: or ten minutes long the same). Removals of single members wait ten seconds. kingpin status lists what
is held; NAME is believed by every machine that follows it, those that are down now too if they are back in --for. The rules
are set by sections [serverset PATTERN] of the configuration: guard = off, guard-min-ratio = 0.5, guard-min-members = 5,
guard-release = 10m, guard-damping = 10s.

--ensemble: a monitor applies nothing of an ensemble that it does not recognise: one that has forgotten changes, after a restore, or
another one under the same address, would give old versions out for new ones. What is here is served meanwhile, and kingpin status
says that it is frozen. Look first at what it has: kingpin ls --direct, kingpin cat NAME --direct.`,
		},
	}
}

// nameCommands are about configs and serversets.
func nameCommands() []command {
	return []command{
		{
			name: "ls", brief: "list the names followed here", run: runLs, direct: true,
			args: []arg{{name: "PATTERN", optional: true, values: completeNames}},
			flags: []option{
				{name: "all", short: "a", value: false, usage: "every name in the registry"},
				{name: "long", short: "l", value: false, usage: "with kind, state, version, age, author and size"},
			},
			exits: []int{exitDone, exitNoName, exitUnreachable, exitNoRight},
			long: `
PATTERN is a part of the name, a pattern with * ? [], or a directory of the mount: config/, serverset/, decider/.`,
		},
		{
			name: "cat", brief: "print the current version, or NAME@VERSION", run: runCat, direct: true,
			args:  []arg{{name: "NAME", repeated: true, values: completeNames}},
			exits: []int{exitDone, exitNoName, exitUnreachable},
		},
		{
			name: "stat", brief: "version, author, age, size, checksum, dependencies and state", run: runStat, direct: true,
			args:  []arg{{name: "NAME", repeated: true, values: completeNames}},
			exits: []int{exitDone, exitNoName, exitUnreachable},
			long:  `With -o json it prints an object; of several names, a list of them.`,
		},
		{
			name: "put", brief: "publish a file, or stdin, as the new version", run: runPut, direct: true, orders: true,
			args: []arg{{name: "NAME", values: completeNames}, {name: "FILE|-", optional: true}},
			flags: []option{
				{name: "message", short: "m", value: "", word: "TEXT", usage: "why, for those who look at the history"},
				{name: "base", value: "", word: "VERSION", usage: "publish only if this version is still the current one"},
				{name: "dry-run", value: false, usage: "check it and show the difference, publish nothing"},
				{name: "force", value: false, usage: "even if it is empty, much smaller, or no JSON where there was some"},
			},
			exits: []int{exitDone, exitRefused, exitNoName, exitLostRace, exitUnreachable, exitNoRight, exitUnknown},
			long: `
The same bytes again make no version. When it is refused, the reason is also in MOUNT/.error/config/NAME. An interrupt while
the version is on its way does not end the command: it says what became of it.`,
		},
		{
			name: "edit", brief: "open it in $EDITOR, and publish only if nobody else did", run: runEdit, direct: true,
			args: []arg{{name: "NAME", values: completeNames}},
			flags: []option{
				{name: "message", short: "m", value: "", word: "TEXT", usage: "why, for those who look at the history"},
				{name: "force", value: false, usage: "even if it is empty, much smaller, or no JSON where there was some"},
			},
			exits: []int{exitDone, exitFailed, exitRefused, exitNoName, exitLostRace, exitUnreachable, exitNoRight, exitUnknown},
			long: `
$VISUAL, $EDITOR or vi gets a copy. If it is left as it was, or the editor fails, nothing is published. If what was written is refused,
or somebody else has published meanwhile, it is kept in a file, and the message says in which.`,
		},
		{
			name: "create", brief: "make a new config or serverset, and subscribe a dependency to it", run: runCreate, direct: true,
			args:  []arg{{name: "NAME"}, {name: "FILE|-", optional: true}},
			flags: []option{{name: "dep", value: []string{}, word: "DEP", usage: "who shall follow it: a dependency (repeatable; default: the first of this machine)", values: completeDependencies}},
			exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
			long: `
A config without FILE is empty until it is written for the first time.`,
		},
		{
			name: "history", brief: "versions with time, author and message", run: runHistory, direct: true,
			args:  []arg{{name: "NAME", values: completeNames}},
			flags: []option{{name: "number", short: "n", value: "20", word: "N", usage: "how many, the newest first"}},
			exits: []int{exitDone, exitNoName, exitUnreachable},
			long: `
The versions are also files, MOUNT/.history/NAME/VERSION, with author and message as extended attributes. With S3 away it lists
those that this machine has itself.`,
		},
		{
			name: "diff", brief: "what a version has changed, as diff -u shows it", run: runDiff, direct: true,
			args:  []arg{{name: "NAME", values: completeNames}, {name: "VERSION", optional: true}, {name: "VERSION", optional: true}},
			exits: []int{exitDone, exitFailed, exitUsage, exitNoName, exitUnreachable},
			long: `
Without VERSION the one before the current and the current one; with one VERSION that and the current one. It ends with 0 if they are
the same, 1 if they differ and more if something went wrong.`,
		},
		{
			name: "rollback", brief: "publish an older version again", run: runRollback, direct: true, orders: true,
			args: []arg{{name: "NAME", values: completeNames}, {name: "VERSION", optional: true}},
			flags: []option{
				{name: "message", short: "m", value: "", word: "TEXT", usage: "why, for those who look at the history"},
				{name: "force", value: false, usage: "even if it is empty, much smaller, or no JSON where there was some"},
			},
			exits: []int{exitDone, exitRefused, exitNoName, exitLostRace, exitUnreachable, exitNoRight, exitUnknown},
			long: `
Without VERSION the one before the current. It makes a new version with the old bytes; if somebody else publishes meanwhile, it makes
none. cp MOUNT/.history/NAME/VERSION MOUNT/config/NAME does the same, whoever publishes meanwhile.`,
		},
		{
			name: "members", brief: "who serves: endpoints with weight, labels and since; what is held and why", run: runMembers, direct: true,
			args: []arg{{name: "SERVERSET", values: completeServersets}}, exits: []int{exitDone, exitNoName, exitUnreachable},
			long: `
The lines of the serverset's file, in order. A member is serving if the registry has it, held if it has it no more and the guard
keeps it in the file, and unknown if the registry was not heard since the monitor was started: then only its endpoint is known.
MOUNT/.members/SERVERSET is the same as JSON, for programs. With -o name it prints the endpoints.`,
		},
	}
}

// removeCommands are about names that nobody has any more.
func removeCommands() []command {
	return []command{{
		name: "rm", brief: "unregister a name that is in no dependency; its bodies stay", run: runRm, direct: true,
		args:  []arg{{name: "NAME"}},
		flags: []option{{name: "yes", short: "y", value: false, usage: "do not ask"}},
		exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
		long: `
No machine that follows it loses a file by it: a name that a dependency holds is refused, and so is a serverset that somebody serves.
Its file, which stays for a minute after the last subscription, goes from this machine at once. What was published stays in S3, and
the name can be created again.`,
	}}
}

// fleetCommands do without a monitor.
func fleetCommands() []command {
	return []command{
		{
			name: "download", brief: "one name to one file, once, where there is no monitor", run: runDownload, remote: true,
			args:  []arg{{name: "NAME", values: completeNames}, {name: "FILE"}},
			flags: []option{{name: "allow-same-content", value: false, usage: "end with 0 also if FILE holds these bytes already"}},
			long: `
The file is replaced whole, gets a later time than it had, and stays as it is if nothing changed. FILE may be - for stdout. Where
ZooKeeper and S3 are is said as to kingpin monitor: --zookeeper, --s3-bucket and so on, /etc/kingpin/kingpin.conf, KINGPIN_*. A serverset
that is empty does not replace one that is not. It is the old zk_download_data.py, with its exit codes:

    0  written                            9  the value file of -l is broken
    1  ZooKeeper cannot be reached       30  fewer members than --serverset-minimum-size
    2  ZooKeeper cannot be read; usage  101  S3 has no such version
    3  a serverset has lost too many    102  S3 has another trouble
    6  there is no such name            123  FILE holds these bytes already
    7  FILE cannot be written
    8  the settings for S3 are wrong

A link zk_download_data.py to kingpin, or kingpin zk_download_data.py, takes the old flags: -f -m -p -s -v -l -z -a -b -e -r, --from-s3,
--allow-same-content, --serverset-minimum-size, and -o and --report-metadata without doing anything. It runs no other program.`,
		},
	}
}

// dependencyCommands are about subscriptions.
func dependencyCommands() []command {
	return []command{
		{
			name: "dep ls", brief: "list dependencies, or the members of one", run: runDepLs, direct: true,
			args:  []arg{{name: "DEP", optional: true, values: completeDependencies}},
			flags: []option{{name: "all", short: "a", value: false, usage: "every dependency in the registry, not only those followed here"}},
			exits: []int{exitDone, exitNoName, exitUnreachable, exitNoRight},
		},
		{
			name: "dep tree", brief: "the graph under a dependency, or under those of this machine", run: runDepTree, direct: true,
			args:  []arg{{name: "DEP", optional: true, values: completeDependencies}},
			exits: []int{exitDone, exitNoName, exitUnreachable, exitNoRight},
		},
		{
			name: "dep why", brief: "every path from a dependency of this machine to a name", run: runDepWhy, direct: true,
			args:  []arg{{name: "NAME", values: completeEdges}},
			exits: []int{exitDone, exitNoName, exitUnreachable},
			long:  `With -o name it prints the dependencies that hold the name themselves.`,
		},
		{
			name: "dep create", brief: "make an empty dependency", run: runDepCreate, direct: true,
			args: []arg{{name: "DEP"}}, exits: []int{exitDone, exitRefused, exitUnreachable, exitNoRight},
		},
		{
			name: "dep delete", brief: "delete an empty dependency", run: runDepDelete, direct: true,
			args:  []arg{{name: "DEP", values: completeDependencies}},
			exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
		},
		{
			name: "dep add", brief: "subscribe everybody who has DEP to names or dependencies", run: runDepAdd, direct: true,
			args:  []arg{{name: "DEP", values: completeDependencies}, {name: "NAME", repeated: true, values: completeEdges}},
			exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
		},
		{
			name: "dep rm", brief: "unsubscribe everybody who has DEP from names or dependencies", run: runDepRm, direct: true,
			args:  []arg{{name: "DEP", values: completeDependencies}, {name: "NAME", repeated: true, values: completeEdges}},
			flags: []option{{name: "yes", short: "y", value: false, usage: "do not ask; needed for members of base.dep, which every machine has"}},
			exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
			long: `
It says first how many names that is, and asks if it is at a terminal. A machine keeps a name that it has through another
dependency.`,
		},
	}
}

// shellCommands are about this program.
func shellCommands() []command {
	return []command{
		{
			name: "completion", brief: "print what makes a shell complete commands and names", run: runCompletion, alone: true,
			args: []arg{{name: "bash|zsh|fish", values: completeShells}},
			long: `
    bash  source <(kingpin completion bash)
    zsh   source <(kingpin completion zsh)
    fish  kingpin completion fish | source`,
		},
		helpCommand(),
		{name: "version", brief: "print the version", run: runVersion, alone: true},
	}
}

// hiddenCommands are run by shells, by the keeper and by tests.
func hiddenCommands() []command {
	return []command{
		{name: "__complete", args: []arg{{name: "WORD", repeated: true, optional: true}}, brief: "candidates for the last word", run: runComplete, hidden: true, alone: true, raw: true},
		{name: oldDownloader, args: []arg{{name: "FLAG", repeated: true, optional: true}}, brief: "kingpin download with the flags of the old one", run: runOldDownload, hidden: true, remote: true, raw: true},
		{name: "__docs", brief: "print docs/cli.md", run: runDocs, hidden: true, alone: true},
		{name: "__server", brief: "the process that serves a mount", run: runServer, orders: true, hidden: true, flags: monitorFlags()},
		{name: "__poker", brief: "the process that touches a mount", run: runPoker, hidden: true, alone: true},
	}
}

func helpCommand() command {
	return command{
		name: "help", brief: "explain a command", run: runHelp, alone: true,
		args: []arg{{name: "COMMAND", optional: true, repeated: true, values: completeVerbs}},
	}
}
