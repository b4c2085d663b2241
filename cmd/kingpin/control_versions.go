package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/kingpinfs/kingpin/registry"
)

// maxVersions bounds one list of versions.
const maxVersions = 1000

func (s *server) getVersions(r *http.Request) (any, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	most, err := strconv.ParseUint(r.URL.Query().Get("most"), 10, 31)
	if err != nil || most == 0 {
		return nil, fmt.Errorf("most=%.40q: %w", r.URL.Query().Get("most"), registry.ErrInvalid)
	}
	return s.versions(r, name, int(min(most, maxVersions)))
}

func (s *server) versions(r *http.Request, name registry.Name, most int) (list versionList, err error) {
	m, err := s.engine.get()
	if err != nil {
		return list, err
	}
	pasts, err := m.History(r.Context(), name)
	if err != nil {
		if len(pasts) == 0 {
			return list, err
		}
		list.Incomplete = words(err)
	}
	var stored []registry.Version
	for _, p := range pasts {
		stored = append(stored, p.Version)
	}
	list.Versions, err = lineage(stored, s.versionOf(r.Context(), name), most, func(v registry.Version) (pastVersion, error) {
		p, err := m.About(r.Context(), name, v)
		past := pastVersion{
			Version: string(v), Published: p.Published.UTC(), Author: p.Author, Message: p.Message, Size: p.Size, Replaces: string(p.Replaces),
		}
		if p.SHA256 != (registry.Checksum{}) {
			past.SHA256 = fmt.Sprintf("%x", p.SHA256)
		}
		return past, err
	})
	return list, err
}

func (s *server) getVersion(r *http.Request) (any, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	which := r.PathValue("which")
	version, err := registry.ParseVersion(which)
	if err == nil && version == "" {
		err = registry.ErrInvalid
	}
	if n, number := strconv.ParseUint(which, 10, 16); number == nil {
		var list versionList
		if list, err = s.versions(r, name, int(n)+1); err == nil && int(n) >= len(list.Versions) {
			err = fmt.Errorf("%s@%s: it has %s: %w", name, which, count(len(list.Versions), "version"), registry.ErrNotExist)
		}
		if err == nil {
			version = registry.Version(list.Versions[n].Version)
		}
	}
	if err != nil {
		return nil, err
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	_, body, err := m.Version(r.Context(), name, version)
	if errors.Is(err, registry.ErrNotExist) {
		return nil, fmt.Errorf("%s@%s: %w", name, which, err)
	}
	return body, err
}
