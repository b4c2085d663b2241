package mirror

import (
	"context"

	"github.com/kingpinfs/kingpin/registry"
)

// Register has an endpoint of this machine in a serverset until the Registration is closed. See Registrar.
func (m *Mirror) Register(name registry.Name, e registry.Endpoint) (*Registration, error) {
	return m.registrar.Register(name, e)
}

// Registrations are those that are held, sorted.
func (m *Mirror) Registrations() []RegistrationStatus { return m.registrar.Registrations() }

func (m *Mirror) runRegistrar(ctx context.Context) {
	if reg, ok := m.registry.(Serversets); ok {
		if err := m.registrar.Run(ctx, reg); err != nil {
			m.log.Error("nothing is registered", "error", err)
		}
	}
}
