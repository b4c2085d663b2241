// Node: watch.js chokidar|awaitWriteFinish|watch-file|watch-directory|watchFile FILE
const fs = require('fs')
const path = require('path')
const [how, file] = process.argv.slice(2)
const reload = () => console.log(fs.readFileSync(file, 'utf8').trim())
const ready = () => console.error('ready')

switch (how) {
  case 'chokidar':
    require('chokidar').watch(file).on('change', reload).on('ready', ready)
    break
  case 'awaitWriteFinish': // until nothing has happened for so many milliseconds
    require('chokidar').watch(file, { awaitWriteFinish: { stabilityThreshold: 50, pollInterval: 10 } }).on('change', reload).on('ready', ready)
    break
  case 'watch-file':
    fs.watch(file, event => event === 'change' && reload())
    ready()
    break
  case 'watch-directory':
    fs.watch(path.dirname(file), (event, name) => event === 'change' && name === path.basename(file) && reload())
    ready()
    break
  case 'watchFile':
    fs.watchFile(file, { interval: 50 }, (now, before) => now.mtimeMs !== before.mtimeMs && reload())
    setTimeout(ready, 200) // it has looked once
}
