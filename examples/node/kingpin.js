// KingPin's deciders and managed lists for Node: one file, no package. Copy it.
//
//     const { Decider, ManagedList } = require('./kingpin')
//     const deciders = new Decider(), blacklist = new ManagedList('spam', 'blacklist')
//     if (deciders.activeForKey('new_ranker', userName)) ...
//     if (blacklist.contains(address)) ...
//
// It reads files of the mount, $KINGPIN_MOUNT or /var/kingpin, and hears of changes by fs.watch. A file that is missing is waited for,
// and one that is broken keeps its last good value. To publish, write the file: fs.writeFileSync('/var/kingpin/decider/new_ranker', '42\n').
'use strict'
const fs = require('fs')
const path = require('path')
const crypto = require('crypto')
const { EventEmitter } = require('events')

const mount = process.env.KINGPIN_MOUNT || '/var/kingpin'
const poll = 5000 // ms between looks that no event asked for

// Managed is the last good value of config.manageddata.DOMAIN.KEY; it emits 'change' and, once each, 'wrong'.
class Managed extends EventEmitter {
  constructor (domain, key, empty) {
    super()
    this.file = path.join(mount, 'config', `config.manageddata.${domain}.${key}`.toLowerCase())
    this.value = this.empty = empty
    this.watchers = {}
    this.look()
    this.timer = setInterval(() => { this.watch(); this.look() }, poll)
    this.timer.unref() // a program may end although it follows a file
  }

  // watch asks for events of the directory and of the file itself: on the machine that writes, the mount's directory tells fs.watch
  // when the bytes are written, and the file when they can be read.
  watch () {
    for (const [what, place] of [['dir', path.dirname(this.file)], ['file', this.file]]) {
      if (this.watchers[what]) continue
      try {
        const watcher = fs.watch(place, { persistent: false }, (event, name) => {
          if (event === 'rename') this.unwatch('file') // another inode has the name now
          if (what === 'file' || name === path.basename(this.file)) this.look()
        })
        watcher.on('error', () => this.unwatch(what))
        this.watchers[what] = watcher
      } catch (e) {} // not there yet
    }
  }

  unwatch (what) {
    if (this.watchers[what]) this.watchers[what].close()
    delete this.watchers[what]
  }

  look () {
    this.watch()
    let text
    try {
      text = fs.readFileSync(this.file, 'utf8')
      if (text === this.text) {
        if (this.known) this.error = null // it was away
        return
      }
      this.known = false
      this.value = text.trim() ? this.parse(text) : this.empty
      this.error = null
      this.known = true
    } catch (e) { // the last good value stays
      if (!this.error || this.error.message !== e.message) this.emit('wrong', this.error = e)
      if (text === undefined) return
    }
    this.text = text
    if (!this.error) this.emit('change', this.value)
  }

  parse (text) {
    const value = JSON.parse(text)
    if (Array.isArray(value) !== Array.isArray(this.empty) || value === null || typeof value !== 'object') throw new Error(`${this.file} has another type`)
    return value
  }

  close () {
    clearInterval(this.timer)
    this.unwatch('dir')
    this.unwatch('file')
  }
}

class ManagedList extends Managed {
  constructor (domain, key) { super(domain, key, []) }
  list () { return [...this.value] }
  contains (item) {
    if (this.indexed !== this.value) this.index = new Set(this.indexed = this.value)
    return this.index.has(item)
  }
}

class ManagedHashMap extends Managed {
  constructor (domain, key) { super(domain, key, {}) }
  get (key) { return Object.hasOwn(this.value, key) ? this.value[key] : undefined }
}

// bucket is where a key falls, 0 to 99, the same in every language.
function bucket (name, key) {
  const sum = crypto.createHash('md5').update('decider_' + name + key).digest('hex')
  return Number(BigInt('0x' + sum) % 100n)
}

// idBucket is never negative, as in Python.
function idBucket (id) { return Number((BigInt(id) % 100n + 100n) % 100n) }

// Decider is all gates. Asking never fails: what is unknown has the default.
class Decider extends ManagedHashMap {
  constructor () { super('admin', 'decider') }
  percent (name, otherwise = 0) {
    const percent = this.get(name.toLowerCase())
    return typeof percent === 'number' ? Math.ceil(percent) : otherwise
  }

  active (name, otherwise) { return Math.floor(Math.random() * 100) < this.percent(name, otherwise) }
  activeFor (name, id, otherwise) { return idBucket(id) < this.percent(name, otherwise) }
  activeForKey (name, key, otherwise) { return bucket(name, key) < this.percent(name, otherwise) }
}

module.exports = { Decider, ManagedHashMap, ManagedList, bucket, idBucket }

if (require.main === module) {
  const [verb, ...args] = process.argv.slice(2)
  if (args.length === 0) console.error('usage: kingpin.js watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER')
  else if (verb === 'bucket') console.log(bucket(args[0], args[1]))
  else if (verb === 'id') console.log(idBucket(args[0]))
  else { // watch DECIDER DOMAIN KEY: a line at the start, and one at each change
    const deciders = new Decider()
    const list = new ManagedList(args[1], args[2])
    let last
    const tell = () => {
      const line = `${deciders.percent(args[0])} ${list.list().join(',')}`
      if (line !== last) console.log(last = line)
    }
    deciders.on('change', tell)
    list.on('change', tell)
    tell()
    setInterval(() => {}, 1 << 30) // go on
  }
}
