package compat

// The packages under test; naming them here keeps them, and what their tests import, in go.mod.
import (
	_ "github.com/hashicorp/consul/api"
	_ "github.com/hashicorp/consul/api/watch"
)
