package keeper

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// intention is what the service manager is about to do with this service. It cannot be told from the signal: systemd sends SIGTERM
// for a stop and for a restart.
type intention struct {
	job    string // "stop", "restart"...; "": none, so that it will be started again if the unit says so
	stored int    // descriptors that it keeps for the next start
}

// keeps says whether the next keeper gets the descriptors back.
func (i intention) keeps() bool { return i.job != "stop" && i.stored >= 2 }

// askPatience bounds both questions together.
const askPatience = 2 * time.Second

// askManager asks systemd, through its own program: there is no simpler way that works on version 252, which tells a service
// nothing about either in its environment. (What it does was tried on that version, with list-jobs and the store, for stop, restart,
// kill, and SIGTERM from a user.)
func askManager(ctx context.Context) (intention, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return intention{}, err
	}
	unit, err := unitOf(string(groups))
	if err != nil {
		return intention{}, err
	}
	show, err := systemctl(ctx, "show", "--property=NFileDescriptorStore", "--value", unit)
	if err != nil {
		return intention{}, err
	}
	stored, err := strconv.Atoi(strings.TrimSpace(show))
	if err != nil {
		return intention{}, fmt.Errorf("systemctl show %s: %w", unit, err)
	}
	jobs, err := systemctl(ctx, "list-jobs", "--no-legend", "--plain", unit)
	return intention{job: jobOf(jobs, unit), stored: stored}, err
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w", args[0], err)
	}
	return string(out), nil
}

// unitOf finds the service's name in /proc/self/cgroup.
func unitOf(groups string) (string, error) {
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 || fields[1] != "" && fields[1] != "name=systemd" {
			continue
		}
		for path := fields[2]; path != "/" && path != "."; path = filepath.Dir(path) {
			if name := filepath.Base(path); strings.HasSuffix(name, ".service") {
				return name, nil
			}
		}
	}
	return "", errNoService
}

// jobOf reads "6 kingpin.service restart running".
func jobOf(list, unit string) string {
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) >= 3 && fields[1] == unit {
			return fields[2]
		}
	}
	return ""
}
