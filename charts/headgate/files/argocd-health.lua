-- Health of a ModelDeployment for Argo CD. Put it into argocd-cm under
-- resource.customizations.health.headgate.dev_ModelDeployment
local hs = { status = "Progressing", message = "Waiting for Headgate" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= obj.status.observedGeneration then
  return hs
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local function is(kind, status)
  return found[kind] ~= nil and found[kind].status == status
end
if is("Stalled", "True") then
  return { status = "Degraded", message = found["Stalled"].message }
end
-- A rollback is no outage, the old version serves; but what Git asks for is not what runs.
if obj.status.phase == "RolledBack" or (is("Ready", "False") and found["Ready"].reason == "RolledBack") then
  local message = "rolled back"
  if obj.status.rollout ~= nil and obj.status.rollout.message ~= nil then
    message = obj.status.rollout.message
  end
  return { status = "Degraded", message = message }
end
if is("Ready", "False") and found["Ready"].reason == "NoReadyPods" and obj.status.phase == "Stable" then
  return { status = "Degraded", message = found["Ready"].message }
end
if is("Ready", "True") and (obj.status.phase == "Stable" or not is("Reconciling", "True")) then
  return { status = "Healthy", message = found["Ready"].message }
end
if found["Ready"] ~= nil then
  hs.message = found["Ready"].message
end
return hs
