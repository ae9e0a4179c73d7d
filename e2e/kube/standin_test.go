package kube

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const node = "stand-in"

// standIn stands in for what a cluster has beside its API server and is not built here: of kube-controller-manager the controllers of jobs, quotas, service accounts
// and namespaces, the scheduler, and one kubelet. It is none of them: it knows pods of one container, runs their command as a process of this machine in a
// directory of its own, where a mount is a directory in that (variables that name a file of one are rewritten), and there is no sandbox around it.
type standIn struct {
	c       *cluster
	t       *testing.T
	kubelet *httptest.Server
	mutex   sync.Mutex
	runs    map[string]*process // by namespace/pod
	made    map[string]bool     // namespaces of calls that it has seen, ever
	refused []string            // what the API server said to pods that it did not take
	pods    []object            // pods that it took, as the API server had them
}

type process struct {
	command *exec.Cmd
	log     string
	exited  chan struct{}
	code    int
	told    bool
}

func newStandIn(t *testing.T, c *cluster) *standIn {
	t.Helper()
	s := &standIn{c: c, t: t, runs: map[string]*process{}, made: map[string]bool{}}
	s.kubelet = httptest.NewTLSServer(http.HandlerFunc(s.logs))
	_, port, _ := net.SplitHostPort(s.kubelet.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	s.must(http.MethodPost, "/api/v1/nodes", object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": node}})
	s.must(http.MethodPatch, "/api/v1/nodes/"+node+"/status", object{"status": map[string]any{
		"addresses":       []any{map[string]any{"type": "InternalIP", "address": "127.0.0.1"}},
		"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": number}}}})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				s.step()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		for _, run := range s.runs {
			run.kill()
		}
		s.kubelet.Close()
	})
	return s
}

// ask is an answer of the API server: its status and body; 0 where there is none.
func (s *standIn) ask(method, path string, body any) (int, []byte) {
	payload, err := json.Marshal(body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	request, err := http.NewRequest(method, s.c.url+path, bytes.NewReader(payload))
	if err != nil {
		return 0, []byte(err.Error())
	}
	request.Header.Set("Authorization", "Bearer "+s.c.token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := s.c.client.Do(request)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	return response.StatusCode, content
}

func (s *standIn) must(method, path string, body any) {
	if code, content := s.ask(method, path, body); code < 200 || code > 299 {
		s.t.Errorf("the stand-in: %s %s: %d %s", method, path, code, content)
	}
}

func (s *standIn) list(path string) []object {
	_, content := s.ask(http.MethodGet, path, nil)
	var all struct{ Items []object }
	_ = json.Unmarshal(content, &all)
	return all.Items
}

func member(o object, path ...string) any {
	var at any = map[string]any(o)
	for _, key := range path {
		members, _ := at.(map[string]any)
		at = members[key]
	}
	return at
}

// step looks at everything once.
func (s *standIn) step() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, namespace := range s.list("/api/v1/namespaces") {
		if name := namespace.text("metadata", "name"); strings.HasPrefix(name, "vidimus-job-") {
			s.namespace(name, namespace)
		}
	}
	for _, quota := range s.list("/api/v1/resourcequotas") {
		if member(quota, "status", "hard") == nil {
			hard, used := member(quota, "spec", "hard"), map[string]any{}
			for resource := range hard.(map[string]any) {
				used[resource] = "0"
			}
			path := fmt.Sprintf("/api/v1/namespaces/%s/resourcequotas/%s/status", quota.text("metadata", "namespace"), quota.text("metadata", "name"))
			s.ask(http.MethodPatch, path, object{"status": map[string]any{"hard": hard, "used": used}})
		}
	}
	pods := s.list("/api/v1/pods")
	for _, job := range s.list("/apis/batch/v1/jobs") {
		s.job(job, pods)
	}
	for _, pod := range pods {
		s.pod(pod)
	}
}

// namespace gives one the account that pods have, and empties one that goes.
func (s *standIn) namespace(name string, namespace object) {
	s.made[name] = true
	if namespace.text("metadata", "deletionTimestamp") == "" {
		account := object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"}}
		s.ask(http.MethodPost, "/api/v1/namespaces/"+name+"/serviceaccounts", account)
		return
	}
	for key, run := range s.runs {
		if strings.HasPrefix(key, name+"/") {
			run.kill()
			delete(s.runs, key)
		}
	}
	for _, resource := range []string{"/apis/batch/v1 jobs", "/api/v1 pods", "/api/v1 secrets", "/api/v1 resourcequotas", "/api/v1 serviceaccounts", "/api/v1 configmaps",
		"/apis/networking.k8s.io/v1 networkpolicies", "/apis/rbac.authorization.k8s.io/v1 rolebindings"} {
		group, plural, _ := strings.Cut(resource, " ")
		s.must(http.MethodDelete, group+"/namespaces/"+name+"/"+plural+"?gracePeriodSeconds=0&propagationPolicy=Background", nil)
	}
	finalized := object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}, "spec": map[string]any{"finalizers": []any{}}}
	s.ask(http.MethodPut, "/api/v1/namespaces/"+name+"/finalize", finalized)
}

// job makes the one pod of one, and ends it at its deadline.
func (s *standIn) job(job object, pods []object) {
	namespace, name, uid := job.text("metadata", "namespace"), job.text("metadata", "name"), job.text("metadata", "uid")
	path := "/apis/batch/v1/namespaces/" + namespace + "/jobs/" + name
	if member(job, "status", "conditions") != nil || job.text("metadata", "deletionTimestamp") != "" {
		return
	}
	own := func() object {
		for _, pod := range pods {
			if pod.text("metadata", "namespace") == namespace && strings.HasPrefix(pod.text("metadata", "name"), name+"-") {
				return pod
			}
		}
		return nil
	}()
	made, _ := time.Parse(time.RFC3339, job.text("metadata", "creationTimestamp"))
	deadline, _ := member(job, "spec", "activeDeadlineSeconds").(float64)
	ended := own != nil && (own.text("status", "phase") == "Succeeded" || own.text("status", "phase") == "Failed")
	if !ended && deadline > 0 && time.Since(made) > time.Duration(deadline)*time.Second {
		if own != nil {
			key := namespace + "/" + own.text("metadata", "name")
			if run := s.runs[key]; run != nil {
				run.kill()
			}
			s.ask(http.MethodDelete, "/api/v1/namespaces/"+namespace+"/pods/"+own.text("metadata", "name")+"?gracePeriodSeconds=0", nil)
		}
		now := time.Now().UTC().Format(time.RFC3339)
		condition := func(of string) any {
			return map[string]any{"type": of, "status": "True", "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline", "lastProbeTime": now, "lastTransitionTime": now}
		}
		s.must(http.MethodPatch, path+"/status", object{"status": map[string]any{
			"startTime": job.text("metadata", "creationTimestamp"), "active": 0, "failed": 1, "conditions": []any{condition("FailureTarget"), condition("Failed")}}})
		return
	}
	if own != nil {
		return
	}
	template, _ := member(job, "spec", "template").(map[string]any)
	metadata, _ := template["metadata"].(map[string]any)
	pod := object{"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "metadata": map[string]any{
		"name": name + "-x", "labels": metadata["labels"], "annotations": metadata["annotations"],
		"ownerReferences": []any{map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": true}}}}
	if code, content := s.ask(http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", pod); code != http.StatusCreated {
		// The namespace is younger than the last look at it: the next step tries again, as the controller of jobs does.
		if strings.Contains(string(content), "error looking up service account") {
			return
		}
		s.refused = append(s.refused, string(content))
		return
	}
	s.ask(http.MethodPatch, path+"/status", object{"status": map[string]any{"startTime": job.text("metadata", "creationTimestamp"), "active": 1}})
}

// pod runs one, and says how it is.
func (s *standIn) pod(pod object) {
	namespace, name := pod.text("metadata", "namespace"), pod.text("metadata", "name")
	key, path := namespace+"/"+name, "/api/v1/namespaces/"+namespace+"/pods/"+name
	if !strings.HasPrefix(namespace, "vidimus-job-") || pod.text("metadata", "deletionTimestamp") != "" {
		return
	}
	containers, _ := member(pod, "spec", "containers").([]any)
	container := object(containers[0].(map[string]any))
	run := s.runs[key]
	if run == nil {
		if pod.text("spec", "nodeName") == "" {
			s.pods = append(s.pods, pod)
			s.must(http.MethodPost, path+"/binding", object{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": name},
				"target": map[string]any{"kind": "Node", "name": node}})
		}
		run = s.begin(namespace, pod, container)
		s.runs[key] = run
		s.says(path, container, "Running", map[string]any{"running": map[string]any{"startedAt": time.Now().UTC().Format(time.RFC3339)}})
		return
	}
	select {
	case <-run.exited:
		if !run.told {
			run.told = true
			phase := "Succeeded"
			if run.code != 0 {
				phase = "Failed"
			}
			s.says(path, container, phase, map[string]any{"terminated": map[string]any{"exitCode": run.code, "reason": "Ended"}})
		}
	default:
	}
}

func (s *standIn) says(path string, container object, phase string, state map[string]any) {
	s.ask(http.MethodPatch, path+"/status", object{"status": map[string]any{"phase": phase, "containerStatuses": []any{map[string]any{
		"name": container.text("name"), "image": container.text("image"), "imageID": container.text("image"), "ready": false, "restartCount": 0, "state": state}}}})
}

// begin starts the command of a container, with its secrets in a directory of its own.
func (s *standIn) begin(namespace string, pod, container object) *process {
	root, err := os.MkdirTemp(s.t.TempDir(), "pod")
	if err != nil {
		s.t.Error(err)
	}
	texts := func(list any) (found []string) {
		all, _ := list.([]any)
		for _, one := range all {
			found = append(found, one.(string))
		}
		return found
	}
	mounts, _ := container["volumeMounts"].([]any)
	volumes, _ := member(pod, "spec", "volumes").([]any)
	for _, one := range mounts {
		mount := object(one.(map[string]any))
		directory := filepath.Join(root, mount.text("mountPath"))
		_ = os.MkdirAll(directory, 0o700)
		for _, other := range volumes {
			if volume := object(other.(map[string]any)); volume.text("name") == mount.text("name") {
				s.secret(namespace, volume.text("secret", "secretName"), directory)
			}
		}
	}
	words := append(texts(container["command"]), texts(container["args"])...)
	run := &process{log: filepath.Join(root, "log"), exited: make(chan struct{})}
	log, err := os.Create(run.log)
	if err != nil {
		s.t.Error(err)
	}
	run.command = exec.Command(words[0], words[1:]...)
	run.command.Dir, run.command.Stdout, run.command.Stderr = root, log, log
	run.command.Env = []string{"PATH=" + os.Getenv("PATH")}
	variables, _ := container["env"].([]any)
	for _, one := range variables {
		variable := object(one.(map[string]any))
		value := variable.text("value")
		if strings.HasPrefix(value, "/vidimus/") {
			value = filepath.Join(root, value)
		}
		run.command.Env = append(run.command.Env, variable.text("name")+"="+value)
	}
	// Its own group: what the command begins ends with it.
	run.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := run.command.Start(); err != nil {
		s.t.Error(err)
		run.code = 127
		close(run.exited)
		return run
	}
	go func() {
		defer close(run.exited)
		_ = run.command.Wait()
		log.Close()
		if run.code = run.command.ProcessState.ExitCode(); run.code < 0 {
			run.code = 137
		}
	}()
	return run
}

func (s *standIn) secret(namespace, name, directory string) {
	if name == "" {
		return
	}
	_, content := s.ask(http.MethodGet, "/api/v1/namespaces/"+namespace+"/secrets/"+name, nil)
	var secret struct{ Data map[string]string }
	if err := json.Unmarshal(content, &secret); err != nil {
		s.t.Error(err)
	}
	for file, value := range secret.Data {
		decoded, _ := base64.StdEncoding.DecodeString(value)
		if err := os.WriteFile(filepath.Join(directory, file), decoded, 0o400); err != nil {
			s.t.Error(err)
		}
	}
}

func (p *process) kill() {
	if p.command.Process != nil {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// logs is what a kubelet serves to the API server: /containerLogs/NAMESPACE/POD/CONTAINER.
func (s *standIn) logs(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	s.mutex.Lock()
	var run *process
	if len(parts) == 4 && parts[0] == "containerLogs" {
		run = s.runs[parts[1]+"/"+parts[2]]
	}
	s.mutex.Unlock()
	if run == nil {
		http.NotFound(w, r)
		return
	}
	content, _ := os.ReadFile(run.log)
	if limit, err := strconv.Atoi(r.URL.Query().Get("limitBytes")); err == nil && len(content) > limit {
		content = content[:limit]
	}
	_, _ = w.Write(content)
}

// seen is how many namespaces of calls there were, ever.
func (s *standIn) seen() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.made)
}

// left are the namespaces of calls that are there now, and what runs.
func (s *standIn) left() (found []string, running int) {
	for _, namespace := range s.list("/api/v1/namespaces") {
		if name := namespace.text("metadata", "name"); strings.HasPrefix(name, "vidimus-job-") {
			found = append(found, name)
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, run := range s.runs {
		select {
		case <-run.exited:
		default:
			running++
		}
	}
	return found, running
}
