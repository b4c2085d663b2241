import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.Consumer;

/**
 * KingPin's deciders and managed lists for Java 17: one file, no library. Copy it.
 *
 * <pre>
 * KingPin kingpin = new KingPin();
 * KingPin.Followed&lt;Map&lt;?, ?>> deciders = kingpin.map("admin", "decider");
 * KingPin.Followed&lt;List&lt;?>> blacklist = kingpin.list("spam", "blacklist");
 * if (KingPin.activeForKey(deciders, "new_ranker", user)) ...
 * if (blacklist.value().contains(address)) ...
 * </pre>
 *
 * It reads files of the mount, $KINGPIN_MOUNT or /var/kingpin, and hears of changes by WatchService. A file that is missing is waited for, and
 * one that is broken keeps its last good value. To publish, write the file: Files.writeString(Path.of("/var/kingpin/decider/new_ranker"), "42\n").
 */
public final class KingPin implements AutoCloseable {
	private static final Path MOUNT = Path.of(Objects.requireNonNullElse(System.getenv("KINGPIN_MOUNT"), "/var/kingpin"));
	private static final long POLL = 5000, SOON = 100; // ms between looks that no event asked for; and for a while after an event
	private static final int OFTEN = 30; // how many looks are soon

	private final Path directory = MOUNT.resolve("config");
	private final List<Followed<?>> files = new CopyOnWriteArrayList<>();
	private final Thread thread = new Thread(this::follow, "kingpin");

	public KingPin() {
		thread.setDaemon(true);
		thread.start();
	}

	/** Followed is the last good value of a file. */
	public static final class Followed<T> {
		private final Path path;
		private final Class<T> type;
		private final T empty;
		private volatile T value;
		private volatile Throwable wrong;
		private volatile Consumer<T> changed = value -> {};
		private byte[] last;

		private Followed(Path path, Class<T> type, T empty) {
			this.path = path;
			this.type = type;
			this.value = this.empty = empty;
		}

		public T value() { return value; }

		/** What is wrong with the file now, or null. */
		public Throwable wrong() { return wrong; }

		public void onChange(Consumer<T> changed) { this.changed = changed; }

		private synchronized void look() {
			try {
				byte[] content = Files.readAllBytes(path);
				if (!Arrays.equals(content, last)) {
					String text = new String(content, StandardCharsets.UTF_8);
					value = text.isBlank() ? empty : type.cast(Objects.requireNonNull(new Json(text).whole(), "null is no value"));
					last = content;
					changed.accept(value);
				}
				wrong = null;
			} catch (IOException | RuntimeException | StackOverflowError e) { // the last good value stays
				wrong = e;
			}
		}
	}

	@SuppressWarnings({"unchecked", "rawtypes"})
	public Followed<List<?>> list(String domain, String key) { return open(domain, key, (Class) List.class, List.of()); }

	@SuppressWarnings({"unchecked", "rawtypes"})
	public Followed<Map<?, ?>> map(String domain, String key) { return open(domain, key, (Class) Map.class, Map.of()); }

	private <T> Followed<T> open(String domain, String key, Class<T> type, T empty) {
		String name = ("config.manageddata." + domain + "." + key).toLowerCase(Locale.ROOT);
		Followed<T> file = new Followed<>(directory.resolve(name), type, empty);
		files.add(file);
		file.look();
		return file;
	}

	/**
	 * On the machine that writes, the mount's directory tells a WatchService when the bytes are written and not when they can be read; so after an event
	 * it looks again for some seconds.
	 */
	private void follow() {
		int soon = 0;
		while (!Thread.interrupted()) {
			try (WatchService watcher = directory.getFileSystem().newWatchService()) {
				WatchKey key = directory.register(watcher, StandardWatchEventKinds.ENTRY_CREATE, StandardWatchEventKinds.ENTRY_MODIFY);
				Object known = Files.getAttribute(directory, "unix:ino");
				while (known.equals(Files.getAttribute(directory, "unix:ino")) && key.isValid()) { // else a mount has come or gone
					files.forEach(Followed::look);
					soon--;
					if (watcher.poll(soon > 0 ? SOON : POLL, TimeUnit.MILLISECONDS) != null) {
						key.pollEvents();
						key.reset();
						soon = OFTEN;
					}
				}
			} catch (IOException e) { // the directory is not there
				try {
					Thread.sleep(1000);
				} catch (InterruptedException interrupted) {
					return;
				}
			} catch (InterruptedException e) {
				return;
			}
		}
	}

	@Override
	public void close() { thread.interrupt(); }

	/** The percent of a gate. Asking never fails: what is unknown has the default. */
	public static int percent(Followed<Map<?, ?>> deciders, String name, int otherwise) {
		return deciders.value().get(name.toLowerCase(Locale.ROOT)) instanceof Number n ? (int) Math.ceil(n.doubleValue()) : otherwise;
	}

	public static boolean active(Followed<Map<?, ?>> deciders, String name) {
		return ThreadLocalRandom.current().nextInt(100) < percent(deciders, name, 0);
	}

	public static boolean activeFor(Followed<Map<?, ?>> deciders, String name, long id) {
		return bucket(id) < percent(deciders, name, 0);
	}

	public static boolean activeForKey(Followed<Map<?, ?>> deciders, String name, String key) {
		return bucket(name, key) < percent(deciders, name, 0);
	}

	/** The bucket of an id, never negative, as in Python. */
	public static int bucket(long id) { return (int) Math.floorMod(id, 100L); }

	/** The bucket of a key, 0 to 99, the same in every language. */
	public static int bucket(String name, String key) {
		try {
			byte[] sum = MessageDigest.getInstance("MD5").digest(("decider_" + name + key).getBytes(StandardCharsets.UTF_8));
			return new BigInteger(1, sum).mod(BigInteger.valueOf(100)).intValue();
		} catch (java.security.NoSuchAlgorithmException e) {
			throw new AssertionError(e);
		}
	}

	/** As much of JSON as there is: Map, List, String, Long, Double, Boolean, null. */
	private static final class Json {
		private final String text;
		private int at;

		Json(String text) { this.text = text; }

		Object whole() {
			Object value = value();
			if (next() != 0) throw wrong();
			return value;
		}

		private RuntimeException wrong() { return new IllegalArgumentException("no JSON at character " + at); }

		private char next() {
			while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
			return at < text.length() ? text.charAt(at) : 0;
		}

		private boolean take(char c) {
			boolean there = next() == c;
			if (there) at++;
			return there;
		}

		private void need(char c) {
			if (!take(c)) throw wrong();
		}

		private Object value() {
			if (take('[')) {
				List<Object> list = new ArrayList<>();
				while (!take(']')) {
					if (!list.isEmpty()) need(',');
					list.add(value());
				}
				return list;
			}
			if (take('{')) {
				Map<String, Object> map = new HashMap<>();
				for (boolean first = true; !take('}'); first = false) {
					if (!first) need(',');
					need('"');
					String key = string();
					need(':');
					map.put(key, value());
				}
				return map;
			}
			if (take('"')) return string();
			int start = at;
			while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
			String word = text.substring(start, at);
			return switch (word) {
				case "null" -> null;
				case "true" -> true;
				case "false" -> false;
				default -> word.matches("-?[0-9]{1,18}") ? (Object) Long.valueOf(word) : Double.valueOf(word); // throws what look() catches
			};
		}

		private String string() {
			StringBuilder s = new StringBuilder();
			for (; ; at++) {
				if (at + 1 > text.length()) throw wrong();
				char c = text.charAt(at);
				if (c == '"') {
					at++;
					return s.toString();
				}
				if (c == '\\') {
					c = text.charAt(++at);
					int escape = "nrtbf".indexOf(c);
					if (escape >= 0) c = "\n\r\t\b\f".charAt(escape);
					else if (c == 'u') {
						c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
						at += 4;
					}
				}
				s.append(c);
			}
		}
	}

	public static void main(String... args) throws Exception {
		switch (args.length < 2 ? "" : args[0]) {
			case "" -> System.err.println("usage: KingPin.java watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER");
			case "bucket" -> System.out.println(bucket(args[1], args[2]));
			case "id" -> System.out.println(bucket(Long.parseLong(args[1])));
			default -> { // watch DECIDER DOMAIN KEY: a line at the start, and one at each change
				KingPin kingpin = new KingPin();
				Followed<Map<?, ?>> deciders = kingpin.map("admin", "decider");
				Followed<List<?>> list = kingpin.list(args[2], args[3]);
				BlockingQueue<Object> changes = new LinkedBlockingQueue<>();
				deciders.onChange(changes::add);
				list.onChange(changes::add);
				for (String last = ""; ; changes.take()) {
					StringJoiner items = new StringJoiner(",");
					list.value().forEach(item -> items.add(String.valueOf(item)));
					String line = percent(deciders, args[1], 0) + " " + items;
					if (!line.equals(last)) System.out.println(line);
					last = line;
				}
			}
		}
	}
}
