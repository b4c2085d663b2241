package mirror

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

const spamSchema registry.Name = "config.schema.manageddata.spam.blacklist"

// TestSchemaJudgesEveryPublication: through any door, on every machine, whether that follows the schema or not.
func TestSchemaJudgesEveryPublication(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m, far := w.boot("a", follows(web)), w.boot("b", follows(web))
		m.publish(write(spam, `{"words": "not judged yet"}`))
		w.make(api, spamSchema) // which nobody follows
		far.publish(write(spamSchema, `{"properties": {"words": {"items": {"type": "string"}, "type": "array"}}}`))
		w.passes(schemaFresh)

		for _, machine := range []*machine{m, far} {
			_, err := machine.Publish(w.Context(), write(spam, `{"words": ["a", 1]}`))
			w.is(err, registry.ErrInvalid)
			if !strings.Contains(err.Error(), "at '/words/1': got number, want string (config.schema.manageddata.spam.blacklist)") {
				t.Errorf("refused with %q", err)
			}
			w.is(machine.Try(w.Context(), write(spam, `{"words": 1}`)), registry.ErrInvalid)
		}
		m.publish(write(spam, `{"words": ["a", "b"]}`))

		far.publish(write(spamSchema, `{"type": "array"}`)) // from now on
		w.passes(schemaFresh)
		_, err := m.Publish(w.Context(), write(spam, `{"words": []}`))
		w.is(err, registry.ErrInvalid)
		m.publish(write(spam, `[]`))

		m.publish(Publication{Name: spamSchema, Body: []byte{}, Force: true}) // and never again; who publishes it sees so at once
		m.publish(write(spam, `no JSON, forced`))
	})
}

func TestSchemaJudgesDecidersAndCreations(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, registry.DeciderName, "config.schema.manageddata.admin.decider", "config.schema.manageddata.new.one")
		w.put(registry.DeciderName, `{"a": 1}`)
		w.put("config.schema.manageddata.admin.decider", `{"propertyNames": {"maxLength": 3}}`)
		w.put("config.schema.manageddata.new.one", `{"type": "array"}`)
		m := w.boot("a", follows(web))
		m.publish(decide("abc", 5))
		_, err := m.Publish(w.Context(), decide("abcd", 5))
		w.is(err, registry.ErrInvalid)
		w.is(m.Create(w.Context(), "config.manageddata.new.one", nil, []byte(`{}`), ""), registry.ErrInvalid)
		w.must(m.Create(w.Context(), "config.manageddata.new.one", nil, []byte(`[]`), ""))
	})
}

// TestBrokenSchemaTakesNobodyHostage: it is refused at its own publication; one that came in otherwise is said once and judges nobody.
func TestBrokenSchemaTakesNobodyHostage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, spamSchema)
		m := w.boot("a", follows(web))
		for _, broken := range []string{`{"type": "strnig"}`, `{"type": `, `{"$ref": "http://169.254.169.254/"}`} {
			_, err := m.Publish(w.Context(), write(spamSchema, broken))
			w.is(err, registry.ErrInvalid)
		}
		w.put(spamSchema, `{"type": "strnig"}`)
		for _, content := range []string{"one", "two", "three"} {
			w.passes(2 * time.Second)
			m.publish(write(spam, content))
		}
		m.said(1, "level=WARN", "schema is broken", "/type")
		m.publish(write(spamSchema, `{"type": "array"}`)) // the broken one can be replaced
		_, err := m.Publish(w.Context(), write(spam, `four`))
		w.is(err, registry.ErrInvalid)
	})
}

// TestSchemaIsReadFromTheDisk: whoever follows a schema does not fetch it.
func TestSchemaIsReadFromTheDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, spamSchema)
		w.put(spamSchema, `{"type": "array"}`)
		m := w.boot("a", follows(web))
		m.has("config/"+string(spamSchema), `{"type": "array"}`)
		m.wire.set(func(c *wire) { c.fetched = nil })
		_, err := m.Publish(w.Context(), write(spam, `{}`))
		w.is(err, registry.ErrInvalid)
		m.wire.set(func(c *wire) {
			for _, key := range c.fetched {
				if strings.Contains(key, "schema") {
					t.Errorf("fetched %s", key)
				}
			}
		})
	})
}
