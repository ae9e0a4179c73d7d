package kube

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cluster is a kube-apiserver with its etcd, on loopback, for as long as one test.
type cluster struct {
	url        string
	token      string
	client     *http.Client
	plurals    map[string]string
	namespaces map[string]bool
	// ca is what the certificate of the API server chains to; its url is the issuer of its tokens.
	ca string
	// etcd is where its etcd answers; server is the API server, and serve starts it (again, when it has ended).
	etcd   string
	server *exec.Cmd
	serve  func()
}

func start(t *testing.T) *cluster {
	t.Helper()
	bin := os.Getenv("VIDIMUS_KUBE_BIN")
	if bin == "" {
		t.Fatal("VIDIMUS_KUBE_BIN is not set: run e2e/kube/test.sh")
	}
	data := t.TempDir()
	etcd, peer, secure := freePort(t), freePort(t), freePort(t)
	client, peers := fmt.Sprintf("http://127.0.0.1:%d", etcd), fmt.Sprintf("http://127.0.0.1:%d", peer)
	run(t, data, filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(data, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	key, token := filepath.Join(data, "sa.key"), "for-this-run-only"
	writeKey(t, key)
	tokens := filepath.Join(data, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(token+",admin,1,system:masters\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		ca:   filepath.Join(data, "certs", "apiserver.crt"),
		etcd: client,
		url:  fmt.Sprintf("https://127.0.0.1:%d", secure), token: token,
		// The certificate is one that the server made for itself a moment ago, on loopback.
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		plurals: map[string]string{}, namespaces: map[string]bool{},
	}
	c.serve = func() {
		c.server = run(t, data, filepath.Join(bin, "kube-apiserver"), "--etcd-servers", client, "--bind-address", "127.0.0.1",
			"--secure-port", fmt.Sprint(secure), "--cert-dir", filepath.Join(data, "certs"), "--token-auth-file", tokens,
			"--authorization-mode", "RBAC", "--feature-gates", "ImageVolume=true", "--service-cluster-ip-range", "10.0.0.0/24",
			"--service-account-issuer", c.url, "--service-account-jwks-uri", c.url+"/openid/v1/jwks",
			"--service-account-key-file", key, "--service-account-signing-key-file", key)
	}
	c.serve()
	c.waitUntilReady(t)
	return c
}

func (c *cluster) waitUntilReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		request, err := http.NewRequest(http.MethodGet, c.url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		response, err := c.client.Do(request)
		if err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s", body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the API server is not ready: %v", err)
		}
	}
}

// run starts a program that ends with the test; what it wrote is shown when the test failed.
func run(t *testing.T, data, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(data, filepath.Base(program)+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		log.Close()
		if content, err := os.ReadFile(path); err == nil && t.Failed() {
			t.Logf("the end of %s:\n%s", path, content[max(0, len(content)-4000):])
		}
	})
	return command
}

// given are the ports that some test has; several run at once.
var given sync.Map

// freePort names a port that nobody gets by chance until it is bound: what asks for port 0, and each connection, has one of
// 32768 to 60999 from the kernel (net.ipv4.ip_local_port_range), so one asked of it may be somebody else's a moment later.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + mathrand.IntN(32_768-10_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port
		}
	}
	t.Fatal("of a thousand ports below 32768 none is free")
	return 0
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
}
