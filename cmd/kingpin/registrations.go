package main

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// ledgerFile is where a machine of a fleet remembers in its state directory what it has registered.
const ledgerFile = "registered.json"

// newRegistrar is that of a monitor. Only in a registry of its own may a machine call itself 127.0.0.1.
func newRegistrar(set monitorSettings, o mirror.RegistrarOptions) *mirror.Registrar {
	if o.Loopback = set.fleet == nil; !o.Loopback {
		o.Ledger = filepath.Join(set.state, ledgerFile)
	}
	return mirror.NewRegistrar(o)
}

// register is behind the files of .register.
func (s *server) register(name registry.Name, e registry.Endpoint) (fs.Registration, error) {
	g, err := s.engine.registrar.Register(name, e)
	if err != nil {
		return nil, err
	}
	return registration{g, s, name}, nil
}

// registration is one whose holder sees it on this machine once he has waited for it.
type registration struct {
	*mirror.Registration
	server *server
	name   registry.Name
}

// Wait returns when other machines can see the registration, and this one shows it if it follows the serverset.
func (r registration) Wait(ctx context.Context) error {
	if err := r.Registration.Wait(ctx); err != nil {
		return err
	}
	if m, err := r.server.engine.get(); err == nil {
		m.AwaitNode(ctx, r.name, r.Node())
	}
	return nil
}

// bequeath leaves what is registered here to the next server, which is about to take over.
func (e *engine) bequeath() {
	if b, _ := e.behind(); b.ensemble != nil {
		b.ensemble.Bequeath()
	}
}

// registering says whether something is about to be registered.
func (e *engine) registering() bool {
	return slices.ContainsFunc(e.registrar.Registrations(), func(r mirror.RegistrationStatus) bool { return r.State == mirror.Unregistered })
}

// registrations is registrations.json.
func (s *server) registrations() []registrationStatus {
	all := []registrationStatus{}
	for _, r := range s.engine.registrar.Registrations() {
		all = append(all, registrationStatus{
			Serverset: string(r.Serverset), Endpoint: string(r.Endpoint), State: string(r.State), Reason: r.Reason, Since: r.Since.UTC(),
			Node: r.Node, Holders: r.Holders, Weight: r.Weight, Labels: r.Labels,
		})
	}
	return all
}
