package gateway

// otherFiles is how many open files are left to the rest of the process: journal, databases, web.
const otherFiles = 200

// limitClients takes no more connections than the system allows open files, less what the rest of the process needs: a flood of
// connections must not keep the journal from opening its files.
func (g *Gateway) limitClients() {
	if room := roomFor(fileLimit(), g.cfg.MaxClients); room < g.cfg.MaxClients {
		g.log.Info("mqtt gateway takes fewer connections than gateway.max_clients, because the system allows too few open files "+
			"(ulimit -n, LimitNOFILE)", "connections", room, "max_clients", g.cfg.MaxClients)
		g.cfg.MaxClients = room
	}
}

// roomFor returns how many of the clients fit below a limit of open files; 0 is no limit.
func roomFor(files uint64, clients int) int {
	if files == 0 || files >= uint64(clients)+otherFiles {
		return clients
	}
	return max(int(files)-otherFiles, 1)
}
