<?php
/*
KingPin's deciders and managed lists for PHP: one file. Copy it.

    require 'kingpin.php';
    if (KingPin\active_for_key('new_ranker', $user)) ...
    if (KingPin\contains('spam', 'blacklist', $address)) ...

A request stats the file, which the kernel answers from its cache, and finds the parsed value in APCu; only when there is a new version somebody reads it. A file
that is missing or broken keeps its last good value. To publish, write the file: file_put_contents('/var/kingpin/decider/new_ranker', "42\n").
*/
namespace KingPin;

/** value is the last good value of config.manageddata.DOMAIN.KEY, or the default before there was one. */
function value(string $domain, string $key, array $otherwise = []): array
{
    static $own = []; // where there is no APCu it lives as long as the process
    $file = (getenv('KINGPIN_MOUNT') ?: '/var/kingpin') . '/config/' . strtolower("config.manageddata.$domain.$key");
    $shared = function_exists('apcu_enabled') && apcu_enabled();
    $last = $shared ? apcu_fetch("kingpin $file") : ($own[$file] ?? false);
    clearstatcache(true, $file);
    $now = @stat($file); // every version has another inode
    if ($now === false || $last !== false && $last['stat'] === [$now['dev'], $now['ino'], $now['size'], $now['mtime']]) {
        return $last === false ? $otherwise : $last['value'];
    }
    $text = @file_get_contents($file);
    $new = trim((string)$text) === '' && $text !== false ? [] : json_decode((string)$text, true);
    if (!is_array($new)) {
        return $last === false ? $otherwise : $last['value']; // broken: the last good value stays
    }
    $last = ['stat' => [$now['dev'], $now['ino'], $now['size'], $now['mtime']], 'value' => $new, 'index' => null];
    $shared ? apcu_store("kingpin $file", $last) : $own[$file] = $last;
    return $new;
}

/** contains says whether an item is in a managed list. */
function contains(string $domain, string $key, $item): bool
{
    return in_array($item, value($domain, $key), true);
}

/** percent of a gate. Asking never fails: what is unknown has the default. */
function percent(string $name, int $otherwise = 0): int
{
    $percent = value('admin', 'decider')[strtolower($name)] ?? null;
    return is_int($percent) || is_float($percent) ? (int)ceil($percent) : $otherwise;
}

function active(string $name): bool
{
    return random_int(0, 99) < percent($name);
}

function active_for(string $name, int $id): bool
{
    return id_bucket($id) < percent($name);
}

function active_for_key(string $name, string $key): bool
{
    return bucket($name, $key) < percent($name);
}

/** id_bucket is never negative, as in Python. */
function id_bucket(int $id): int
{
    return ($id % 100 + 100) % 100;
}

/** bucket of a key, 0 to 99, the same in every language. */
function bucket(string $name, string $key): int
{
    $bucket = 0;
    foreach (unpack('C*', md5("decider_$name$key", true)) as $byte) {
        $bucket = ($bucket * 256 + $byte) % 100;
    }
    return $bucket;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    switch ($argc < 3 ? '' : $argv[1]) {
        case '':
            fwrite(STDERR, "usage: kingpin.php watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER\n");
            break;
        case 'bucket':
            echo bucket($argv[2], $argv[3]), "\n";
            break;
        case 'id':
            echo id_bucket((int)$argv[2]), "\n";
            break;
        default: // watch DECIDER DOMAIN KEY: each line of input is a request, and is answered by a line
            do {
                echo percent($argv[2]), ' ', implode(',', value($argv[3], $argv[4])), "\n";
            } while (fgets(STDIN) !== false);
    }
}
