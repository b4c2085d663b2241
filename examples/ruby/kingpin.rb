# KingPin's deciders and managed lists for Ruby: one file, the standard library alone. Copy it.
#
#   require_relative 'kingpin'
#   if KingPin::Decider.new.active_for_key?('new_ranker', user) ...
#   blacklist = KingPin::ManagedList.new('spam', 'blacklist')
#   if blacklist.include?(address) ...
#
# It reads files of the mount, $KINGPIN_MOUNT or /var/kingpin, and hears of changes by inotify. A file that is missing is waited for, and one
# that is broken keeps its last good value. To publish, write the file: File.write('/var/kingpin/decider/new_ranker', "42\n").
require 'digest'
require 'fiddle'
require 'io/wait'
require 'json'
require 'set'

module KingPin
  MOUNT = ENV.fetch('KINGPIN_MOUNT', '/var/kingpin')
  POLL = 10 # seconds between looks that no event asked for
  EVENTS = 0x8 | 0x80 | 0x200 # IN_CLOSE_WRITE, which the mount raises when a version can be read, IN_MOVED_TO, IN_DELETE
  CLOSE_ON_EXEC = 0o2000000

  def self.c(name, *arguments)
    Fiddle::Function.new(Fiddle::Handle::DEFAULT[name], arguments, Fiddle::TYPE_INT)
  end

  INIT = c('inotify_init1', Fiddle::TYPE_INT)
  WATCH = c('inotify_add_watch', Fiddle::TYPE_INT, Fiddle::TYPE_VOIDP, Fiddle::TYPE_INT)

  # Managed is the last good value of config.manageddata.DOMAIN.KEY. The block, if there is one, is called after each change.
  class Managed
    attr_reader :error

    def initialize(domain, key, empty, &changed)
      @file = File.join(MOUNT, 'config', "config.manageddata.#{domain}.#{key}".downcase)
      @value, @empty, @changed = empty, empty, changed
      look
      start
    end

    def value
      start if @process != Process.pid # a fork has no threads of its parent
      @value
    end

    private

    def start
      @process = Process.pid
      @thread = Thread.new { follow }
    end

    def follow
      directory = File.dirname(@file)
      loop do
        known = File.stat(directory)
        events = IO.for_fd(INIT.call(CLOSE_ON_EXEC))
        WATCH.call(events.fileno, directory, EVENTS)
        while (now = File.stat(directory)).ino == known.ino && now.dev == known.dev # else a mount has come or gone
          look
          events.readpartial(65_536) if events.wait_readable(POLL)
        end
        events.close
      rescue SystemCallError # not there
        events&.close
        look
        sleep 1
      end
    end

    def look
      text = File.binread(@file)
      return if text == @text

      value = text.strip.empty? ? @empty : JSON.parse(text)
      raise JSON::ParserError, "#{@file} is a #{value.class}" unless value.is_a?(@empty.class)

      @text, @value, @error = text, value, nil
      tell
    rescue SystemCallError, JSON::ParserError => e # the last good value stays
      @error = e
    end

    def tell
      @changed&.call
    rescue StandardError => e # it must not end the thread
      warn e.full_message
    end
  end

  class ManagedList < Managed
    def initialize(domain, key, &changed)
      super(domain, key, [], &changed)
    end

    def include?(item)
      list = value
      @indexed, @index = list, list.to_set unless @indexed.equal?(list)
      @index.include?(item)
    end
  end

  class ManagedHashMap < Managed
    def initialize(domain, key, &changed)
      super(domain, key, {}, &changed)
    end
  end

  # bucket is where a key falls, 0 to 99, the same in every language.
  def self.bucket(name, key)
    Digest::MD5.hexdigest("decider_#{name}#{key}").hex % 100
  end

  # Decider is all gates. Asking never fails: what is unknown has the default.
  class Decider
    def initialize(&changed)
      @map = ManagedHashMap.new('admin', 'decider', &changed)
    end

    def percent(name, otherwise = 0)
      percent = @map.value[name.downcase]
      percent.is_a?(Numeric) ? percent.ceil : otherwise
    end

    def active?(name) = rand(100) < percent(name)
    def active_for?(name, id) = id % 100 < percent(name)
    def active_for_key?(name, key) = KingPin.bucket(name, key) < percent(name)
  end
end

if $PROGRAM_NAME == __FILE__
  verb, *args = ARGV
  abort 'usage: kingpin.rb watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER' if args.empty?
  case verb
  when 'bucket' then puts KingPin.bucket(*args)
  when 'id' then puts args[0].to_i % 100
  else # watch DECIDER DOMAIN KEY: a line at the start, and one at each change
    $stdout.sync = true
    changes = Queue.new
    deciders = KingPin::Decider.new { changes << true }
    list = KingPin::ManagedList.new(args[1], args[2]) { changes << true }
    last = nil
    loop do
      line = "#{deciders.percent(args[0])} #{list.value.join(',')}"
      puts line if line != last
      last = line
      changes.pop
    end
  end
end
