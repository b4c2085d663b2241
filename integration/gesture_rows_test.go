package integration

// chapter is a part of the table of writers.
type chapter struct {
	title    string
	gestures []gesture
	deciders bool // the files are in decider/, not in config/
}

// gesture is something that people and programs do to a file, and what has to come of it.
type gesture struct {
	who      string // the program, or what is particular
	line     string // shell, in config/ of machine a; testdata/writers/prelude.sh says what it may use
	shown    string // what the table shows instead of line
	before   string // what the file holds before: "one\n" unless given, or "1\n" if it is a decider
	after    string // what both machines hold afterwards: what they held before, unless given
	versions int    // how many, if it is not one for other bytes and none for the same
	fails    string // what the program says, when it has to fail; one of several, with a | between them
	silent   bool   // it fails, and the program does not hear of it: .error/ knows
	orphan   bool   // a body may have come to S3 that nobody names
	reason   string // what .error/ says among other things, which differ, or one of several; "": the table shows all it says
	born     bool   // nothing was written before
	gone     bool   // there is none afterwards
	decider  bool   // as its chapter says
	syncs    bool   // it publishes before it closes the file, by fsync
	away     bool   // it takes servers away; they are brought back when it is over
	programs []string
}

// writers of a config that holds "one\n", and of a decider that holds "1\n".
var writers = []chapter{
	{title: "Shells", gestures: []gesture{
		{who: "bash `>`", line: `echo two > $f`, after: "two\n"},
		{who: "bash `>>`", line: `echo two >> $f`, after: "one\ntwo\n"},
		{who: "bash `: >`", line: `: > $f`},
		{who: "bash, a subshell", line: `(echo two; echo three) > $f`, after: "two\nthree\n"},
		{who: "bash, children with one descriptor", line: `{ /bin/echo two; /bin/echo three; } > $f`, after: "two\nthree\n"},
		{who: "bash, children that append", line: `{ /bin/echo two; /bin/echo three; } >> $f`, after: "one\ntwo\nthree\n"},
		{who: "bash, a here-document", line: "cat > $f <<< two", after: "two\n"},
		{who: "bash, a descriptor that it keeps", line: `exec 9>$f; echo two >&9; echo three >&9; exec 9>&-`, after: "two\nthree\n"},
		{who: "bash `printf`, in pieces", line: `{ printf t; printf w; printf 'o\n'; } > $f`, after: "two\n"},
		{who: "bash `<>`, in place", line: `printf O 1<> $f`, after: "One\n"},
		{who: "dash `>`", line: `dash -c "echo two > $f"`, after: "two\n", programs: []string{"dash"}},
		{who: "dash `>>`", line: `dash -c "echo two >> $f"`, after: "one\ntwo\n", programs: []string{"dash"}},
		{who: "dash `: >`", line: `dash -c ": > $f"`, programs: []string{"dash"}},
		{who: "dash, a subshell", line: `dash -c "(echo two; echo three) > $f"`, after: "two\nthree\n", programs: []string{"dash"}},
		{who: "`/bin/echo`", line: `/bin/echo two > $f`, after: "two\n"},
		{who: "`cat`", line: `cat $other > $f`, after: "two\n"},
		{who: "the same bytes", line: `echo one > $f`},
		{who: "the same bytes, by another file", line: `cat $f > .$f.same; mv .$f.same $f`},
	}},
	{title: "Tools", gestures: []gesture{
		{who: "cp", line: `cp $other $f`, after: "two\n"},
		{who: "cp -p", line: `cp -p $other $f`, after: "two\n"},
		{who: "cp --reflink=auto", line: `cp --reflink=auto $other $f`, after: "two\n"},
		{who: "mv, from a temporary name", line: `echo two > $f.tmp && mv $f.tmp $f`, after: "two\n"},
		{who: "mv, from a hidden name", line: `echo two > .$f.new && mv .$f.new $f`, after: "two\n"},
		{who: "tee", line: `echo two | tee $f`, after: "two\n"},
		{who: "tee -a", line: `echo two | tee -a $f`, after: "one\ntwo\n"},
		{who: "dd", line: `dd if=$other of=$f status=none`, after: "two\n"},
		{who: "dd bs=1", line: `dd if=$other of=$f bs=1 status=none`, after: "two\n"},
		{who: "dd conv=notrunc", line: `printf O | dd of=$f conv=notrunc status=none`, after: "One\n"},
		{who: "dd conv=fsync", line: `dd if=$other of=$f conv=fsync status=none`, after: "two\n", syncs: true},
		{who: "truncate", line: `truncate -s 3 $f`, after: "one"},
		{who: "sort -o", line: `sort -r -o $f $f`, before: "a\nb\n", after: "b\na\n"},
		{who: "sed -i", line: `sed -i s/one/two/ $f`, after: "two\n"},
		{who: "sed -i, no match", line: `sed -i s/none/two/ $f`},
		{who: "perl -i", line: `perl -pi -e s/one/two/ $f`, after: "two\n", programs: []string{"perl"}},
		{who: "patch", line: `diff -u $f $other | patch -s $f`, after: "two\n", programs: []string{"patch", "diff"}},
		{who: "rsync -a", line: `rsync -a $other $f`, after: "two\n", programs: []string{"rsync"}},
		{who: "rsync -a --inplace", line: `rsync -a --inplace $other $f`, after: "two\n", programs: []string{"rsync"}},
		{who: "git config, by lock and rename", line: `git config -f $f core.two 2`, before: "[core]\n\tone = 1\n",
			after: "[core]\n\tone = 1\n\ttwo = 2\n", programs: []string{"git"}},
		{who: "kingpin put", line: `kingpin put -q $f $other`, after: "two\n"},
		{who: "kingpin put, stdin", line: `echo two | kingpin put -q $f -`, after: "two\n"},
	}},
	{title: "Editors", gestures: []gesture{
		{who: "vim", line: `vim -u NONE -es -c s/one/two/ -c x $f </dev/null`, after: "two\n", syncs: true, programs: []string{"vim"}},
		{who: "vim, backup by renaming", line: `vim -u NONE -es -c 'set backup backupcopy=no' -c s/one/two/ -c x $f </dev/null; rm -f $f~`,
			after: "two\n", syncs: true, programs: []string{"vim"}},
		{who: "nano", line: `typed 'GNU nano' '\x0btwo\x0f\r\x18' nano $f`, shown: `nano $f`, after: "two\n", programs: []string{"nano", "python3"}},
	}},
	{title: "Languages", gestures: []gesture{
		{who: "Python open('w')", line: `python3 -c 'with open("'$f'", "w") as f: f.write("two\n")'`, after: "two\n", programs: []string{"python3"}},
		{who: "Python open('a')", line: `python3 -c 'with open("'$f'", "a") as f: f.write("two\n")'`, after: "one\ntwo\n", programs: []string{"python3"}},
		{who: "Python open('r+')", line: `python3 -c 'with open("'$f'", "r+") as f: f.truncate(0); f.write("two\n")'`, after: "two\n", programs: []string{"python3"}},
		{who: "Python os.replace", line: `python3 -c 'import os; open("'$f.t'", "w").write("two\n"); os.replace("'$f.t'", "'$f'")'`,
			after: "two\n", programs: []string{"python3"}},
		{who: "Python json.dump", line: `python3 -c 'import json; json.dump({"two": 2}, open("'$f'", "w"))'`,
			before: "{\"one\": 1}\n", after: "{\"two\": 2}", programs: []string{"python3"}},
		{who: "Python open('w'), fsync", line: `python3 -c 'import os; f = open("'$f'", "w"); f.write("two\n"); f.flush(); os.fsync(f.fileno())'`,
			after: "two\n", syncs: true, programs: []string{"python3"}},
		{who: "Python shutil.copy, modes too", line: `chmod 600 $other; python3 -c 'import shutil; shutil.copy("'$other'", "'$f'")'; e=$?; chmod 644 $other; exit $e`,
			shown: `python3 -c 'import shutil; shutil.copy("'$other'", "'$f'")'`, after: "two\n", programs: []string{"python3"}},
		{who: "Node fs.writeFile", line: `node -e 'require("fs").writeFile("'$f'", "two\n", e => { if (e) throw e })'`, after: "two\n", programs: []string{"node"}},
		{who: "Go os.WriteFile", line: `gowrites os.WriteFile $f`, shown: `os.WriteFile(f, []byte("two\n"), 0o644)`, after: "two\n"},
		{who: "Go renameio.WriteFile", line: `gowrites renameio.WriteFile $f`, shown: `renameio.WriteFile(f, []byte("two\n"), 0o644)`, after: "two\n"},
	}},
	{title: "Writers that end early", gestures: []gesture{
		{who: "killed before it closes", line: `{ bash -c "exec 9>$f; echo two >&9; kill -9 \$\$"; } 2>/dev/null; true`,
			shown: `exec 9>$f; echo two >&9; kill -9 $$`},
		{who: "killed while it renames a file", line: `{ bash -c "echo two > .$f.new; kill -9 \$\$; mv .$f.new $f"; } 2>/dev/null; rm -f .$f.new`,
			shown: `echo two > .$f.new; kill -9 $$; mv .$f.new $f`},
		{who: "killed after an fsync", line: `{ python3 -c 'import os; f = os.open("'$f'", 513); os.write(f, b"two\n"); os.fsync(f); os.write(f, b"three\n"); os.kill(os.getpid(), 9)'; } 2>/dev/null; true`,
			shown: `write(f, "two\n"); fsync(f); write(f, "three\n"); kill(getpid(), SIGKILL)`, after: "two\n", syncs: true, programs: []string{"python3"}},
		{who: "exits without closing", line: `python3 -c 'import os; f = os.open("'$f'", 513); os.write(f, b"two\n"); os._exit(0)'`,
			shown: `write(f, "two\n"); _exit(0)`, after: "two\n", programs: []string{"python3"}},
	}},
	{title: "Two at once", gestures: []gesture{
		{who: "both cut the file, one machine", line: `exec 8>$f 9>$f; echo two >&8; echo three >&9; exec 8>&-; exec 9>&-`, after: "three\n", versions: 2},
		{who: "both cut the file, two machines", line: `exec 8>$f 9>$fb; echo two >&8; echo three >&9; exec 8>&-; exec 9>&-`, after: "three\n", versions: 2},
		{who: "both append, one machine", line: `exec 8>>$f 9>>$f; echo two >&8; echo three >&9; exec 8>&-; exec 9>&-`, after: "one\ntwo\nthree\n", versions: 2},
		{who: "both append, two machines", line: `exec 8>>$f 9>>$fb; echo two >&8; echo three >&9; exec 8>&-; exec 9>&-`, after: "one\ntwo\nthree\n", versions: 2},
		{who: "both change it in place, one machine", line: `both $f $f`, shown: `f, g = open('r+') twice; each writes; close(f); close(g)`,
			after: "One\n", fails: "Stale file handle", programs: []string{"python3"}},
		{who: "both change it in place, two machines", line: `both $f $fb`, shown: `f, g = open('r+') on each; each writes; close(f); close(g)`,
			after: "One\n", fails: "Stale file handle", programs: []string{"python3"}},
	}},
	{title: "Refused, and nothing changed", gestures: []gesture{
		{who: "a typo", line: `echo two > ${f/writers/wirters}`, shown: `echo two > $f, which nobody created`, fails: "Operation not permitted"},
		{who: "a name of another shape that nobody created", line: `echo two > config.limits`, fails: "Operation not permitted"},
		{who: "install", line: `install $other $f`, fails: "Operation not permitted"},
		{who: "mv, from another file system", line: `cp $other $other.moved && mv $other.moved $f`, shown: `mv $other $f`, fails: "Operation not permitted"},
		{who: "cp -a, for the file has two links", line: `cp -a $other $f`, fails: "Operation not permitted"},
		{who: "cp --remove-destination", line: `cp --remove-destination $other $f`, fails: "Operation not permitted"},
		{who: "git checkout", line: `repository=$(mktemp -d); export GIT_DIR=$repository/.git GIT_WORK_TREE=$repository; cp $other $repository/$f
git init -q && cd $repository && git add $f && git -c user.name=a -c user.email=a@b commit -qm a && cd - >/dev/null
GIT_WORK_TREE=$PWD git checkout -q -- $f; e=$?; rm -rf $repository; exit $e`,
			shown: `git checkout -- $f`, fails: "Operation not permitted", programs: []string{"git"}},
		{who: "rm", line: `rm $f`, fails: "Operation not permitted"},
		{who: "mv to another name", line: `mv $f config.manageddata.writers.renamed`, fails: "Operation not permitted"},
		{who: "ln", line: `ln $f $f.link`, fails: "Operation not permitted"},
		{who: "ln -s", line: `ln -s $f config.manageddata.writers.alias`, fails: "Operation not permitted"},
		{who: "mkfifo", line: `mkfifo config.manageddata.writers.fifo`, fails: "Operation not permitted"},
		{who: "mkdir", line: `mkdir config.manageddata.writers.dir`, fails: "Operation not permitted"},
		{who: "chmod", line: `chmod 600 $f`, fails: "Operation not permitted"},
		{who: "chown", line: `chown 1:1 $f`, fails: "Operation not permitted"},
		{who: "touch", line: `touch $f`, shown: `touch $f`},
		{who: "cat onto itself", line: `cat $f > $f`, fails: "input file is output file"},
		{who: "emptied", line: `truncate -s 0 $f`, fails: "Invalid argument"},
		{who: "emptied by a rename", line: `: > .$f.new; mv .$f.new $f; e=$?; rm -f .$f.new; exit $e`, shown: `: > .$f.new; mv .$f.new $f`, fails: "Operation not permitted"},
		{who: "no JSON any more", line: `echo '{"two": }' > $f`, before: "{\"one\": 1}\n", fails: "Invalid argument"},
		{who: "no JSON any more, by cp", line: `cp $other $f`, before: "{\"one\": 1}\n", fails: "Invalid argument"},
		{who: "half of a JSON, by echo", line: `echo '{"two": 2' > $f`, before: "{\"one\": 1}\n", silent: true},
		{who: "half of a JSON, by tee", line: `echo '{"two": 2' | tee $f`, before: "{\"one\": 1}\n", fails: "Invalid argument"},
		{who: "too large", line: `dd if=/dev/zero of=$f bs=64k count=32 status=none`, fails: "File too large"},
		{who: "a loop, with `--max-versions-per-minute 10`", line: `for i in {1..11}; do echo $i > $f; done`, after: "10\n", versions: 10, born: true, fails: "Disk quota exceeded"},
		{who: "not in the publish group", line: `python3 -c 'import os; os.setgroups([]); os.setuid(65534); open("'$f'", "w")'`,
			shown: `open(f, "w")`, fails: "Permission denied", programs: []string{"python3"}},
	}},
	{title: "Deciders, which hold `1`", deciders: true, gestures: []gesture{
		{who: "decider, bash `>`", line: `echo 42 > $f`, after: "42\n"},
		{who: "decider, dash `>`", line: `dash -c "echo 42 > $f"`, after: "42\n", programs: []string{"dash"}},
		{who: "decider, `printf` without a newline", line: `printf 42 > $f`, after: "42\n"},
		{who: "decider, digit by digit", line: `{ printf 4; printf 2; echo; } > $f`, after: "42\n"},
		{who: "decider, cp", line: `cp $number $f`, after: "42\n"},
		{who: "decider, tee", line: `echo 42 | tee $f`, after: "42\n"},
		{who: "decider, dd", line: `dd if=$number of=$f status=none`, after: "42\n"},
		{who: "decider, sed -i", line: `sed -i s/1/42/ $f`, after: "42\n"},
		{who: "decider, rsync", line: `rsync $number $f`, after: "42\n", programs: []string{"rsync"}},
		{who: "decider, vim", line: `vim -u NONE -es -c s/1/42/ -c x $f </dev/null`, after: "42\n", programs: []string{"vim"}},
		{who: "decider, Python open('w')", line: `python3 -c 'open("'$f'", "w").write("42")'`, after: "42\n", programs: []string{"python3"}},
		{who: "decider, Python os.replace", line: `python3 -c 'import os; open(".'$f'", "w").write("42"); os.replace(".'$f'", "'$f'")'`,
			after: "42\n", programs: []string{"python3"}},
		{who: "decider, kingpin decider set", line: `kingpin decider set -q $f 42`, after: "42\n"},
		{who: "decider, a new one by bash", line: `echo 42 > $f`, after: "42\n", born: true},
		{who: "decider, a new one by mv", line: `echo 42 > .$f; mv .$f $f`, after: "42\n", born: true},
		{who: "decider, the same value", line: `echo 1 > $f`},
		{who: "decider, bash `: >`", line: `: > $f`},
		{who: "decider, rm", line: `rm $f`, gone: true},
		{who: "decider, too much", line: `echo 250 > $f`, fails: "Invalid argument"},
		{who: "decider, too much by cp", line: `echo 250 > $number.250; cp $number.250 $f`, shown: `cp number $f`, fails: "Invalid argument"},
		{who: "decider, too much by sed -i", line: `sed -i s/1/250/ $f`, fails: "Operation not permitted"},
		{who: "decider, no number", line: `echo one > $f`, fails: "Invalid argument"},
		{who: "decider, `>>`", line: `echo 42 >> $f`, fails: "Invalid argument"},
		{who: "decider, install", line: `install $number $f`, fails: "Operation not permitted"},
		{who: "decider, a new one in capitals", line: `echo 42 > UPPER`, fails: "Operation not permitted"},
	}},
	{title: "The network goes away", gestures: []gesture{
		{who: "ZooKeeper, before the open", line: `away zookeeper; echo two > $f`, shown: `echo two > $f`, fails: "No route to host",
			reason: "ZooKeeper at SERVER: unreachable|ZooKeeper: unreachable", away: true},
		{who: "S3, before the open", line: `away s3; sleep 1.5; echo two > $f`, shown: `echo two > $f`, fails: "No route to host",
			reason: "the store of bodies has been away for AGE", away: true},
		{who: "ZooKeeper, between open and close", line: `between zookeeper $f`, shown: `open, ZooKeeper goes, write, close`, fails: "No route to host|Connection timed out",
			reason: "unreachable|timed out", away: true, orphan: true},
		{who: "S3, between open and close", line: `between s3 $f`, shown: `open, S3 goes, write, close`, fails: "No route to host",
			reason: "not published: store the body", away: true},
		{who: "ZooKeeper hangs, between open and close", line: `between hanging-zookeeper $f`, shown: `open, ZooKeeper hangs, write, close`, fails: "Connection timed out|Input/output error",
			reason: "not published|it may have been published", away: true, orphan: true},
	}},
}
