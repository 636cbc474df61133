package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// What every client reads when OVIRT_PROVISION_ADDRESS is host:port. The certificate proves who calls; so does, instead
// of certificate and key, a bearer token.
const (
	caFileVariable    = "OVIRT_PROVISION_CA_FILE"
	certFileVariable  = "OVIRT_PROVISION_CERT_FILE"
	keyFileVariable   = "OVIRT_PROVISION_KEY_FILE"
	tokenFileVariable = "OVIRT_PROVISION_TOKEN_FILE"
)

// dialCredentials is how the daemon at the address is spoken to: in the clear over a unix socket, which is in a folder
// of ours, and with TLS over TCP.
func dialCredentials(address Address, env Environment) ([]grpc.DialOption, error) {
	if address.Socket != "" {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
	}
	ca, cert, key, token := env(caFileVariable), env(certFileVariable), env(keyFileVariable), env(tokenFileVariable)
	missing := ""
	switch {
	case ca == "":
		missing = caFileVariable + " is not set"
	case (cert == "") != (key == ""):
		missing = certFileVariable + " and " + keyFileVariable + " go together"
	case (cert == "") == (token == ""):
		missing = "either " + certFileVariable + " or " + tokenFileVariable + " must be set"
	}
	if missing != "" {
		return nil, fmt.Errorf("%s is '%s', and TCP takes TLS: %s; set %s, and either %s with %s or %s; or forward the "+
			"daemon's socket, as in `ssh -L /path/daemon.sock:/path/daemon.sock host`", AddressVariable,
			env(AddressVariable), missing, caFileVariable, certFileVariable, keyFileVariable, tokenFileVariable)
	}
	configuration := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	content, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFileVariable, err)
	}
	if !configuration.RootCAs.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM format", caFileVariable, ca)
	}
	options := []grpc.DialOption{}
	if token != "" {
		bearer, err := os.ReadFile(token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tokenFileVariable, err)
		}
		if len(strings.TrimSpace(string(bearer))) == 0 {
			return nil, fmt.Errorf("%s: %s holds no token", tokenFileVariable, token)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(strings.TrimSpace(string(bearer)))))
	} else {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", certFileVariable, keyFileVariable, err)
		}
		configuration.Certificates = []tls.Certificate{own}
	}
	return append(options, grpc.WithTransportCredentials(credentials.NewTLS(configuration))), nil
}

// bearerToken goes along with every call.
type bearerToken string

func (t bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }

// tlsPatience is how long a daemon may end our connections before we blame our certificate for it.
const tlsPatience = 3 * time.Second

// tlsDoubt notices that one side does not take the other's certificate, which waiting does not change. The daemon ends
// the connection without a word when it does not take ours, so only time tells that from a daemon that is restarted.
type tlsDoubt struct {
	address Address
	since   time.Time
}

// over is told each failure to reach the daemon and says whether to give up.
func (d *tlsDoubt) over(err error) bool {
	switch {
	case d.address.Socket != "" || strings.Contains(err.Error(), "Error while dialing"):
		d.since = time.Time{}
	case strings.Contains(err.Error(), "tls: "):
		return true
	case d.since.IsZero():
		d.since = time.Now()
	}
	return !d.since.IsZero() && time.Since(d.since) > tlsPatience
}
