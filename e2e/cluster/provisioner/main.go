// provisioner makes the volumes of the two StorageClasses. All machines are namespaces of one computer, so it makes
// them right here, for the node that the scheduler picked:
//
//	local     a folder; its size is only written down
//	bounded   a file system of exactly the claim's size: a sparse file behind a loop device. The node's kubelet makes
//	          the ext4 in it at first use and mounts it, again after the node was restarted
//
// Both are `local` PersistentVolumes: unlike `hostPath` the kubelet gives them to the pod's fsGroup, as it does with a
// cloud's disks.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	name = "postroad.invalid/local"
	// bounded is the StorageClass parameter that asks for a file system of the claim's size.
	bounded = "bounded"
)

type provisioner struct{ dir string }

func (p provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return refuse(fmt.Errorf("the StorageClass must have volumeBindingMode WaitForFirstConsumer"))
	}
	for _, mode := range o.PVC.Spec.AccessModes {
		if mode != v1.ReadWriteOnce && mode != v1.ReadWriteOncePod {
			return refuse(fmt.Errorf("access mode %s: a volume is on one node only", mode))
		}
	}
	size := o.PVC.Spec.Resources.Requests[v1.ResourceStorage]
	source := v1.LocalVolumeSource{Path: filepath.Join(p.dir, o.PVName)}
	if o.StorageClass.Parameters[bounded] == "true" {
		device, err := p.attach(ctx, o.PVName, size.Value())
		if err != nil {
			return refuse(err)
		}
		ext4 := "ext4"
		source = v1.LocalVolumeSource{Path: device, FSType: &ext4}
	} else if err := os.MkdirAll(source.Path, 0o755); err != nil {
		return refuse(err)
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    o.PVC.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: size},
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &source},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{o.SelectedNodeName},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

func refuse(err error) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	return nil, controller.ProvisioningFinished, err
}

func (p provisioner) image(volume string) string { return filepath.Join(p.dir, volume+".img") }

// attach makes the file and a loop device over it. A second call for the same volume finds both.
func (p provisioner) attach(ctx context.Context, volume string, size int64) (string, error) {
	file, err := os.OpenFile(p.image(volume), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		return "", err
	}
	if device, err := p.device(ctx, volume); err != nil || device != "" {
		return device, err
	}
	return losetup(ctx, "--find", "--show", file.Name())
}

// device is the loop device of the volume, or empty.
func (p provisioner) device(ctx context.Context, volume string) (string, error) {
	return losetup(ctx, "--associated", p.image(volume), "--noheadings", "--output", "NAME")
}

func losetup(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "losetup", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("losetup: %w: %s", err, out)
	}
	return string(bytes.TrimSpace(out)), nil
}

func (p provisioner) Delete(ctx context.Context, pv *v1.PersistentVolume) error {
	device, err := p.device(ctx, pv.Name)
	if err == nil && device != "" {
		_, err = losetup(ctx, "--detach", device)
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(p.image(pv.Name)); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(p.dir, pv.Name))
}

func main() {
	dir := flag.String("dir", "", "folder that holds the volumes")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatal(err)
	}
	ctx := context.Background()
	controller.NewProvisionController(ctx, client, name, provisioner{*dir}, controller.LeaderElection(false)).Run(ctx)
}
