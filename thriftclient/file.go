package thriftclient

func File(path string, o Options) Source { return Static() }
