{{/* Name of everything: the release, which is usually called conversion-monitor itself. */}}
{{- define "conversion-monitor.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "conversion-monitor.selector" -}}
app.kubernetes.io/name: conversion-monitor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conversion-monitor.labels" -}}
{{ include "conversion-monitor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The config file: the values, and what only the chart can know. */}}
{{- define "conversion-monitor.config" -}}
{{- $own := dict
  "http" (dict "host" "0.0.0.0" "port" 8000 "public_url" "http://${POD_IP}:8000")
  "data_dir" "/var/lib/conversion-monitor"
  "privacy" (dict "salt" "${MONITOR_SALT:-}") -}}
{{- mustMergeOverwrite (deepCopy .Values.config) $own | toYaml -}}
{{- end }}
