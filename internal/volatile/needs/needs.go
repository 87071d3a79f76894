// SPDX-License-Identifier: Apache-2.0

// Package needs lists what a Caddy config needs the disk for after its start, so
// that a process that is about to be locked out of the disk can refuse the config
// or warn.
//
// Of looks only at what Caddy exports. These needs it cannot see; the lock makes
// each of them fail, and Caddy logs the failure:
//
//	need                                        instead
//	Caddy saves the config after each load      persist_config off
//	logs go to files that roll                  output stderr, or net
//	the admin endpoint has a managed identity   no admin identity
//	tls automates names by its certificates     certificates from files that exist
//
// A log file that does not roll is open from the start. It counts as a file that
// is open for writing (see volatile.OpenedForWriting).
package needs

import (
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"

	"github.com/bauxite/caddy-kvaware/internal/volatile"
)

// Need is one use of the disk, and the options that avoid it.
type Need struct{ Use, Instead string }

// What Of can see.
var (
	OpenFiles    = Need{"files are open for writing, such as logs", "output stderr, or net; a restart closes the files of an earlier config"}
	StorageCheck = Need{"Caddy tests its storage, which is files", "storage_check off"}
	StorageClean = Need{"Caddy cleans its storage, which is files", "storage_clean_interval off"}
	Certificates = Need{"Caddy manages certificates in files", "auto_https off and certificates from files that exist, or TLS in front, or a storage module that is not file_system"}
	Authority    = Need{"Caddy's own certificate authority keeps its keys in files", "no tls internal, no acme_server and no pki app"}
	ECH          = Need{"keys of Encrypted ClientHello are kept in files", "no ech"}
)

// Of lists what the config of ctx needs the disk for. All of its apps must be
// provisioned; the order in which they start does not matter.
func Of(ctx caddy.Context) (needs []Need) {
	// Once locked, the files that are still open were reported by the lock.
	if volatile.State() != volatile.Locked && volatile.OpenedForWriting() > 0 {
		needs = append(needs, OpenFiles)
	}
	files, ok := ctx.Storage().(*certmagic.FileStorage)
	if !ok {
		return needs
	}
	if app, err := ctx.AppIfConfigured("tls"); err == nil {
		needs = append(needs, ofTLS(ctx, app.(*caddytls.TLS), files)...)
	}
	if app, err := ctx.AppIfConfigured("pki"); err == nil && len(app.(*caddypki.PKI).CAs) > 0 {
		needs = append(needs, Authority)
	}
	return needs
}

func ofTLS(ctx caddy.Context, tls *caddytls.TLS, files *certmagic.FileStorage) (needs []Need) {
	if !tls.DisableStorageCheck {
		needs = append(needs, StorageCheck)
	}
	if !tls.DisableStorageClean {
		needs = append(needs, StorageClean)
	}
	if tls.EncryptedClientHello != nil {
		needs = append(needs, ECH)
	}
	if onDemand(tls) || managesNames(ctx, tls, files) {
		needs = append(needs, Certificates)
	}
	return needs
}

// onDemand reports whether certificates are obtained at the first handshake.
func onDemand(tls *caddytls.TLS) bool {
	return tls.Automation != nil && slices.ContainsFunc(tls.Automation.Policies, func(p *caddytls.AutomationPolicy) bool { return p.OnDemand })
}

// managesNames reports whether automatic HTTPS obtains a certificate for any host
// of the HTTP servers.
func managesNames(ctx caddy.Context, tls *caddytls.TLS, files *certmagic.FileStorage) bool {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return false
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		auto := server.AutoHTTPS // Caddy sets Disabled where only the HTTP port is used
		if auto == nil || auto.Disabled || auto.DisableCerts {
			continue
		}
		if slices.ContainsFunc(hosts(server), func(name string) bool { return manages(auto, tls, files, name) }) {
			return true
		}
	}
	return false
}

// manages reports whether automatic HTTPS obtains a certificate for a name, by
// the rules of Caddy's automaticHTTPSPhase1.
func manages(auto *caddyhttp.AutoHTTPSConfig, tls *caddytls.TLS, files *certmagic.FileStorage, name string) bool {
	switch {
	case slices.Contains(auto.Skip, name), slices.Contains(auto.SkipCerts, name), !certmagic.SubjectQualifiesForCert(name):
		return false
	}
	return auto.IgnoreLoadedCerts || !tls.HasCertificateForSubject(name) || isStored(files, name)
}

// isStored reports whether the storage has a certificate for a name. If the HTTP app
// has started already, the certificate that Caddy has for the name may be one that
// it manages, and that it has to renew.
func isStored(files *certmagic.FileStorage, name string) bool {
	issuers, err := os.ReadDir(files.Filename("certificates"))
	if err != nil {
		return false // there is none
	}
	_, parent, _ := strings.Cut(name, ".")
	return slices.ContainsFunc(issuers, func(issuer os.DirEntry) bool {
		has := func(subject string) bool {
			_, err := os.Stat(files.Filename(certmagic.StorageKeys.SiteCert(issuer.Name(), subject)))
			return err == nil
		}
		return has(name) || has("*."+parent)
	})
}

// hosts returns the hosts that a server's routes match.
func hosts(server *caddyhttp.Server) (all []string) {
	replacer := caddy.NewReplacer()
	for _, route := range server.Routes {
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if names, ok := matcher.(*caddyhttp.MatchHost); ok {
					for _, name := range *names {
						all = append(all, replacer.ReplaceAll(name, ""))
					}
				}
			}
		}
	}
	return all
}
