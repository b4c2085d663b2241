import java.nio.file.*;

/** Java's WatchService: java Watch.java FILE */
class Watch {
    public static void main(String[] args) throws Exception {
        Path file = Path.of(args[0]);
        WatchService service = FileSystems.getDefault().newWatchService();
        file.getParent().register(service, StandardWatchEventKinds.ENTRY_MODIFY);
        System.err.println("ready");
        for (;;) {
            WatchKey key = service.take();
            for (WatchEvent<?> event : key.pollEvents()) {
                if (file.getFileName().equals(event.context())) {
                    System.out.println(Files.readString(file).strip());
                }
            }
            key.reset();
        }
    }
}
